"""The three encodings of a data set and the header of one element (PS3.5 7.1, A.1 to A.3).

Invariant: reading a header looks at 12 bytes at most and never past the buffer it is given.
It must not read values.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_DELIMITATION = 0xFFFEE00D
SEQUENCE_DELIMITATION = 0xFFFEE0DD

SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
KNOWN_VRS = SHORT_VRS | LONG_VRS
_VR_TEXT = {vr: vr.decode() for vr in KNOWN_VRS}

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_PAPYRUS_IMPLICIT = "1.2.840.10008.1.20"
_EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
# Deflated Explicit VR, and the two JPIP syntaxes whose data set is deflated as well.
_DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
_STANDARD_ROOT = "1.2.840.10008.1.2."

Unpack = Callable[..., tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How element headers are laid out.

    `unpack_quick` gives what the walk over known elements needs: VR and 16-bit length, or the
    32-bit length in implicit VR.
    """

    name: str
    is_implicit: bool
    is_big_endian: bool
    unpack_explicit: Unpack
    unpack_implicit: Unpack
    unpack_length: Unpack
    unpack_quick: Unpack


def _encoding(name: str, is_implicit: bool, order: str) -> Encoding:
    return Encoding(
        name,
        is_implicit,
        order == ">",
        struct.Struct(order + "HH2sH").unpack_from,
        struct.Struct(order + "HHL").unpack_from,
        struct.Struct(order + "L").unpack_from,
        struct.Struct(order + ("4xL" if is_implicit else "4x2sH")).unpack_from,
    )


IMPLICIT_LITTLE = _encoding("implicit_little", True, "<")
EXPLICIT_LITTLE = _encoding("explicit_little", False, "<")
EXPLICIT_BIG = _encoding("explicit_big", False, ">")


def is_deflated(transfer_syntax_uid: str) -> bool:
    """Whether the whole data set is a raw deflate stream (PS3.5 A.5)."""
    return transfer_syntax_uid in _DEFLATED


def declared_encoding(transfer_syntax_uid: str) -> Encoding | None:
    """The encoding that a transfer syntax prescribes; None for private ones."""
    if transfer_syntax_uid in (IMPLICIT_VR_LITTLE_ENDIAN, _PAPYRUS_IMPLICIT):
        return IMPLICIT_LITTLE
    if transfer_syntax_uid == _EXPLICIT_VR_BIG_ENDIAN:
        return EXPLICIT_BIG
    return EXPLICIT_LITTLE if transfer_syntax_uid.startswith(_STANDARD_ROOT) else None


def actual_encoding(head: bytes, declared: Encoding) -> Encoding:
    """The encoding that a data set's first 8 bytes show; senders do lie about it.

    A VR in its place means explicit; a first group of 0800 is 0008 in the other byte order.
    """
    if len(head) < 8:
        return declared
    if head[4:6] not in KNOWN_VRS:
        is_explicit = not declared.is_implicit and b"AA" <= head[4:6] <= b"ZZ"
        return declared if is_explicit else IMPLICIT_LITTLE
    if declared.is_implicit:
        declared = EXPLICIT_LITTLE
    if declared.unpack_implicit(head, 0)[0] == 0x0800:
        return EXPLICIT_LITTLE if declared.is_big_endian else EXPLICIT_BIG
    return declared


@dataclass(slots=True)
class ElementHeader:
    """One element's header. `vr` is None where the bytes do not say it (implicit VR)."""

    tag: int
    vr: str | None
    length: int
    size_bytes: int


def read_element_header(buffer: bytes, at: int, encoding: Encoding) -> ElementHeader | None:
    """The header at `at`; None where the buffer ends inside it.

    An explicit VR that is none of the standard's is UN with its own length form: the 32-bit one
    where the two bytes behind the VR are zero (PS3.5 7.1.2 has new VRs use it), else the 16-bit
    one. Bytes that are no VR at all mean that the writer switched to implicit VR.
    """
    if len(buffer) - at < 8:
        return None
    group, element, length = encoding.unpack_implicit(buffer, at)
    tag = group << 16 | element
    if encoding.is_implicit or group == 0xFFFE:
        return ElementHeader(tag, None, length, 8)
    code = buffer[at + 4 : at + 6]
    if code in SHORT_VRS:
        return ElementHeader(tag, _VR_TEXT[code], encoding.unpack_explicit(buffer, at)[3], 8)
    if code not in LONG_VRS:
        if not (65 <= code[0] <= 90 and 65 <= code[1] <= 90):
            return ElementHeader(tag, None, length, 8)
        if buffer[at + 6 : at + 8] != b"\0\0":
            return ElementHeader(tag, "UN", encoding.unpack_explicit(buffer, at)[3], 8)
    if len(buffer) - at < 12:
        return None
    length = encoding.unpack_length(buffer, at + 8)[0]
    return ElementHeader(tag, _VR_TEXT.get(code, "UN"), length, 12)
