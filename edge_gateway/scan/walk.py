"""One pass over a data set's elements, collecting each one's attribute object.

Invariant: it goes forward only, reads no pixel data, and ends: whatever the bytes, each step
consumes some of a bounded budget. What was collected before it stops stays collected.
It must not let anything but ScanStop carry a finding outwards.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_gateway.scan.assemble import (
    attribute,
    bulk_members,
    in_order,
    json_object,
    sequence_members,
)
from edge_gateway.scan.cursor import REMEMBERED_VALUE_BYTES_MAX, Cursor
from edge_gateway.scan.dictionary import LUT_DATA
from edge_gateway.scan.encoding import (
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITATION,
    SEQUENCE_DELIMITATION,
    UNDEFINED_LENGTH,
    ElementHeader,
    Encoding,
    actual_encoding,
)
from edge_gateway.scan.limits import HeaderReason, ScanLimits, ScanStop
from edge_gateway.scan.scope import (
    LUT_DESCRIPTOR,
    PIXEL_REPRESENTATION,
    SPECIFIC_CHARACTER_SET,
    Meaning,
    Scope,
    is_private_creator,
)
from edge_gateway.scan.source import ByteSource, sha256_hex
from edge_gateway.scan.values import (
    BINARY_VRS,
    MalformedValueError,
    lut_descriptor_json,
    value_json,
)

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
_IDENTIFYING = {SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID}
# Float, Double Float and Pixel Data: named by length alone, hashing them would mean reading them.
_PIXEL_DATA = {0x7FE00008, 0x7FE00009, 0x7FE00010}
_LUT_DESCRIPTORS = {0x00281101, 0x00281102, 0x00281103, LUT_DESCRIPTOR}
# Elements that change how others are read, or that the caller wants: never from the memo.
_OBSERVED = _IDENTIFYING | {SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION, LUT_DESCRIPTOR}


@dataclass(frozen=True, slots=True)
class SequenceExtent:
    """Where the value field of a sequence of the data set itself lies, delimiter excluded."""

    tag: int
    start: int
    length_bytes: int


class HeaderWalk:
    """The walk's findings: `fragments` in order, raw `uids`, top-level `sequences`, `reason`.

    `has_guessed`: a US or SS came before any Pixel Representation and was taken for US.
    """

    def __init__(self, source: ByteSource, limits: ScanLimits) -> None:
        self.fragments: list[bytes] = []
        self.uids: dict[int, bytes] = {}
        self.sequences: list[SequenceExtent] = []
        self.reason: HeaderReason | None = None
        self.has_guessed = False
        self._cursor = Cursor(source, limits)
        self._limits = limits

    def run(self, scope: Scope) -> None:
        """Walk the whole data set; `reason` says whether and why that did not succeed."""
        try:
            scope.use(actual_encoding(self._cursor.read(0, 8), scope.encoding))
            self._data_set(0, self._cursor.source.end, scope, self.fragments)
        except ScanStop as stop:
            self._note(stop.reason)
        self.fragments = self._in_order(self.fragments)

    def _note(self, reason: HeaderReason) -> None:
        self.reason = self.reason or reason

    def _in_order(self, fragments: list[bytes]) -> list[bytes]:
        ordered, is_unique = in_order(fragments)
        if not is_unique:
            self._note(HeaderReason.MALFORMED)
        return ordered

    def _take(self, tag: int, members: bytes, out: list[bytes]) -> None:
        fragment = attribute(tag, members)
        self._cursor.count(0, len(fragment) + 1)
        out.append(fragment)

    def _data_set(self, position: int, end: int, scope: Scope, out: list[bytes]) -> int:
        cursor, encoding = self._cursor, scope.encoding
        known = cursor.known_implicit if encoding.is_implicit else cursor.known_explicit
        while position < end:
            position = known(position, end, encoding, scope.table.fragments, out)
            header = cursor.header(position, end, encoding)
            if header is None:
                position = self._tail(position, end, scope)
            elif header.tag == ITEM_DELIMITATION and scope.is_delimited:
                return position + 8
            elif header.tag >> 16 == 0xFFFE:
                position = self._stray(position, header, scope)
            else:
                position = self._element(position, end, header, scope, out)
        if scope.is_delimited:
            raise cursor.overrun(position + 8)
        return position

    def _stray(self, position: int, header: ElementHeader, scope: Scope) -> int:
        """Delimiters of sequences that had a length already: written by some, mean nothing."""
        if header.tag == ITEM or header.length or scope.is_delimited:
            raise ScanStop(HeaderReason.MALFORMED)
        self._cursor.count(8, 0)
        return position + 8

    def _tail(self, position: int, end: int, scope: Scope) -> int:
        """What is left is no element: nothing, a few zero bytes of padding, or a cut."""
        rest = self._cursor.read(position, min(12, end - position))
        if position > self._cursor.source.end or scope.is_delimited or rest.strip(b"\0"):
            raise self._cursor.overrun(position + max(8, len(rest) + 1))
        return end

    def _element(
        self, position: int, end: int, header: ElementHeader, scope: Scope, out: list[bytes]
    ) -> int:
        if header.tag == 0:
            if scope.depth == 0 and self._cursor.is_padding(position, end):
                return end
            raise ScanStop(HeaderReason.MALFORMED)
        self._cursor.count(header.size_bytes, 0)
        meaning = scope.meaning(header)
        self.has_guessed = self.has_guessed or meaning.is_guessed
        value_at = position + header.size_bytes
        # Group lengths are not part of the model (PS3.18 F.2.2), whatever they hold.
        is_group_length = header.tag & 0xFFFF == 0
        if header.length == UNDEFINED_LENGTH:
            members, stop = self._undefined(value_at, end, header, meaning, scope)
            if not is_group_length:
                self._take(header.tag, members, out)
            return stop
        stop = value_at + header.length
        if stop > end:
            raise self._cursor.overrun(stop)
        if is_group_length:
            return stop
        if meaning.vr == "SQ":
            members = self._defined_sequence(value_at, stop, header, meaning, scope)
        elif self._is_bulk(header, meaning.vr):
            members = self._bulk(header.tag, meaning.vr, value_at, header.length)
        else:
            members = self._small(position, header, meaning, scope)
        self._take(header.tag, members, out)
        return stop

    def _is_bulk(self, header: ElementHeader, vr: str) -> bool:
        if header.tag in _PIXEL_DATA:
            return header.length > 0
        is_binary = vr in BINARY_VRS
        limits = self._limits
        return header.length > (limits.inline_bytes_max if is_binary else limits.value_bytes_max)

    def _bulk(self, tag: int, vr: str, value_at: int, length: int) -> bytes:
        if tag in _PIXEL_DATA:
            return bulk_members(vr, "", length)
        if length > self._limits.element_bytes_max:
            self._note(HeaderReason.ELEMENT_TOO_LARGE)
            return bulk_members(vr, "", length)
        return bulk_members(vr, sha256_hex(self._cursor.source, value_at, length), length)

    def _undefined(
        self, value_at: int, end: int, header: ElementHeader, meaning: Meaning, scope: Scope
    ) -> tuple[bytes, int]:
        """The members of an element of undefined length, and the position behind it."""
        if header.vr == "UN" or meaning.vr in ("SQ", "UN"):
            # A private or unknown element of undefined length can only be a sequence.
            items, position = self._items(value_at, end, True, meaning.value_encoding, scope)
            self._extent(header.tag, value_at, position - 8 - value_at, scope)
            return sequence_members(items), position
        position = self._cursor.after_fragments(value_at, end, scope.encoding)
        length = position - 8 - value_at
        # Encapsulated is OB, whatever a dictionary offers (PS3.5 A.4).
        vr = "OB" if meaning.is_ambiguous else meaning.vr
        return self._bulk(header.tag, vr, value_at, length), position

    def _extent(self, tag: int, value_at: int, length: int, scope: Scope) -> None:
        if scope.depth == 0:
            self.sequences.append(SequenceExtent(tag, value_at, length))

    def _defined_sequence(
        self, value_at: int, stop: int, header: ElementHeader, meaning: Meaning, scope: Scope
    ) -> bytes:
        """A sequence that says its length: what is wrong inside costs only itself."""
        try:
            items, _ = self._items(value_at, stop, False, meaning.value_encoding, scope)
        except ScanStop as broken:
            is_cut = stop > self._cursor.source.end
            if is_cut or broken.reason not in (HeaderReason.TRUNCATED, HeaderReason.MALFORMED):
                raise
            self._note(HeaderReason.MALFORMED)
            return bulk_members("SQ", "", header.length)
        self._extent(header.tag, value_at, header.length, scope)
        return sequence_members(items)

    def _items(
        self, position: int, end: int, is_undefined: bool, encoding: Encoding, scope: Scope
    ) -> tuple[list[bytes], int]:
        """The items' objects and the position behind them (and behind the delimiter)."""
        if scope.depth >= self._limits.depth_max:
            raise ScanStop(HeaderReason.DEPTH)
        items: list[bytes] = []
        while is_undefined or position < end:
            tag, length = self._cursor.item_header(position, end, encoding)
            position += 8
            self._cursor.count(8, 3)
            if tag == SEQUENCE_DELIMITATION:
                if is_undefined:
                    break
                continue
            if tag != ITEM:
                raise ScanStop(HeaderReason.MALFORMED)
            is_delimited = length == UNDEFINED_LENGTH
            stop = end if is_delimited else position + length
            if stop > end:
                raise self._cursor.overrun(stop)
            inner = scope.item(self._item_encoding(position, encoding, scope), is_delimited)
            fragments: list[bytes] = []
            position = self._data_set(position, stop, inner, fragments)
            items.append(json_object(self._in_order(fragments)))
        return items, position

    def _item_encoding(self, position: int, encoding: Encoding, scope: Scope) -> Encoding:
        """Inside a UN items are implicit VR (CP-246), but some writers keep explicit VR."""
        if encoding is scope.encoding:
            return encoding
        return actual_encoding(self._cursor.read(position, 8), IMPLICIT_LITTLE)

    def _small(self, position: int, header: ElementHeader, meaning: Meaning, scope: Scope) -> bytes:
        """The members of a value that is carried; left in the memo where that is sound."""
        size_bytes = header.size_bytes + header.length
        encoded = self._cursor.read(position, size_bytes)
        if len(encoded) < size_bytes:
            raise ScanStop(HeaderReason.TRUNCATED)
        value = encoded[header.size_bytes :]
        # Before `observe`: an element never decides how it is read itself.
        table = scope.table
        scope.observe(header.tag, value, meaning.value_encoding.is_big_endian)
        if header.tag in _IDENTIFYING and scope.depth == 0:
            self.uids[header.tag] = value
        members = self._value(header, meaning, value, scope)
        if self._is_memorable(header, meaning):
            scope.memo.remember(table, encoded, attribute(header.tag, members))
        return members

    def _value(self, header: ElementHeader, meaning: Meaning, value: bytes, scope: Scope) -> bytes:
        is_big_endian = meaning.value_encoding.is_big_endian
        try:
            if header.tag in _LUT_DESCRIPTORS and meaning.vr == "SS":
                return lut_descriptor_json(value, is_big_endian)
            return value_json(meaning.vr, value, is_big_endian, scope.charset)
        except MalformedValueError:
            # The bytes are kept as they are; not knowing what they mean is what UN says.
            return value_json("UN", value, is_big_endian, scope.charset)

    def _is_memorable(self, header: ElementHeader, meaning: Meaning) -> bool:
        """Whether the same bytes mean the same wherever the same facts were learnt before."""
        if header.tag in _OBSERVED or is_private_creator(header.tag):
            return False
        if header.tag == LUT_DATA or meaning.is_guessed:
            return False
        return header.length <= REMEMBERED_VALUE_BYTES_MAX
