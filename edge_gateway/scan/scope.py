"""What one data set, or one sequence item, says about the elements that follow in it.

Invariant: an item starts from what its surroundings say and never changes them (PS3.5 7.5.3).
It must not move in the bytes.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from edge_gateway.scan.charset import DEFAULT_CHARACTER_SET, CharacterSet, character_set
from edge_gateway.scan.dictionary import (
    UNKNOWN_VR,
    Ambiguity,
    is_ambiguous,
    private_vr,
    public_vr,
    settle,
)
from edge_gateway.scan.encoding import (
    IMPLICIT_LITTLE,
    UNDEFINED_LENGTH,
    ElementHeader,
    Encoding,
)
from edge_gateway.scan.fragments import FragmentMemo, Table

SPECIFIC_CHARACTER_SET = 0x00080005
PIXEL_REPRESENTATION = 0x00280103
LUT_DESCRIPTOR = 0x00283002
# A UN of this length or more is UN because its real VR has a 16-bit length (PS3.5 6.2.2 note).
_SHORT_LENGTH_MAX = 0xFFFF
# An LO has 64 characters; no dictionary knows a longer creator.
_CREATOR_BYTES_MAX = 256


@dataclass(frozen=True, slots=True)
class Meaning:
    """How one value field is to be read."""

    vr: str
    value_encoding: Encoding
    is_ambiguous: bool = False
    is_guessed: bool = False


def is_private(tag: int) -> bool:
    """Odd groups are private (PS3.5 7.8)."""
    return bool(tag >> 16 & 1)


def is_private_creator(tag: int) -> bool:
    """(gggg,0010-00FF) of an odd group reserve a block of elements (PS3.5 7.8.1)."""
    return is_private(tag) and 0x10 <= tag & 0xFFFF <= 0xFF


@dataclass(slots=True)
class Scope:
    """One data set being walked. `is_delimited`: it ends with an Item Delimitation Item."""

    encoding: Encoding
    memo: FragmentMemo
    charset: CharacterSet = DEFAULT_CHARACTER_SET
    ambiguity: Ambiguity = field(default_factory=Ambiguity)
    depth: int = 0
    is_delimited: bool = False
    table: Table = field(init=False)
    _creators: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.use(self.encoding)

    def use(self, encoding: Encoding) -> None:
        """Read on in this encoding; only before the first element."""
        self.encoding = encoding
        signedness = self.ambiguity.pixel_representation
        self.table = self.memo.table((encoding.name, self.charset, signedness))

    def _learn(self, fact: Hashable) -> None:
        """What follows means what it means because of `fact`: so it has a table of its own."""
        self.table = self.memo.derived(self.table, fact)

    def item(self, encoding: Encoding, is_delimited: bool) -> Scope:
        """The scope of an item: same character set until it declares its own, no creators."""
        return Scope(
            encoding,
            self.memo,
            self.charset,
            replace(self.ambiguity, lut_entries=None),
            self.depth + 1,
            is_delimited,
        )

    def meaning(self, header: ElementHeader) -> Meaning:
        """The VR and encoding of an element's value field.

        A UN whose VR the dictionaries know is read as that, in implicit VR little endian, which
        is what UN means inside (PS3.5 6.2.2, CP-246).
        """
        if header.vr is not None and header.vr != UNKNOWN_VR:
            return Meaning(header.vr, self.encoding)
        creator = self._creator_of(header.tag)
        vr = self._look_up(header.tag, creator)
        encoding = self.encoding
        if header.vr == UNKNOWN_VR:
            encoding = IMPLICIT_LITTLE
            if _SHORT_LENGTH_MAX <= header.length != UNDEFINED_LENGTH:
                vr = UNKNOWN_VR
        if not is_ambiguous(vr):
            return Meaning(vr, encoding)
        is_guessed = vr == "US or SS" and self.ambiguity.pixel_representation is None
        settled = settle(header.tag, vr, self.ambiguity)
        return Meaning(settled, encoding, True, is_guessed)

    def _creator_of(self, tag: int) -> str:
        if not is_private(tag) or tag & 0xFFFF < 0x1000:
            return ""
        return self._creators.get(tag >> 8, "")

    def _look_up(self, tag: int, creator: str) -> str:
        if not is_private(tag):
            return public_vr(tag) or UNKNOWN_VR
        if is_private_creator(tag):
            return "LO"
        return (private_vr(tag, creator) if creator else None) or UNKNOWN_VR

    def observe(self, tag: int, value: bytes, is_big_endian: bool) -> None:
        """Take note of an element that decides how later ones are read."""
        if tag == SPECIFIC_CHARACTER_SET:
            self.charset = character_set(value)
            self._learn(self.charset)
        elif tag == PIXEL_REPRESENTATION:
            number = _first_number(value, is_big_endian)
            self.ambiguity = replace(self.ambiguity, pixel_representation=number)
            self._learn(("pixel_representation", number))
        elif tag == LUT_DESCRIPTOR:
            number = _first_number(value, is_big_endian)
            self.ambiguity = replace(self.ambiguity, lut_entries=number)
        elif is_private_creator(tag) and len(value) <= _CREATOR_BYTES_MAX:
            name = value.decode("latin-1").strip("\0 ")
            self._creators[tag >> 16 << 8 | tag & 0xFF] = name
            self._learn((tag, name))


def _first_number(value: bytes, is_big_endian: bool) -> int | None:
    if len(value) < 2:
        return None
    return int.from_bytes(value[:2], "big" if is_big_endian else "little")
