"""DICOM files as they stand on a disk, ready to be sent: where the data set begins and what it is.

Invariant: a file is never changed, decoded or taken whole into memory, and one that cannot be
sent is a typed problem that stops no other. Must not open connections.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from contracts.identity import is_uid
from edge_gateway.preamble import PREAMBLE_BYTES, preamble_finding
from edge_gateway.scan import HeaderReason, scan_header

_PREFIX = b"DICM"
_META_BYTES_MAX = 1024 * 1024
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
# VRs whose explicit length field has four bytes (PS3.5 7.1.2); only OB and UN occur in group 2.
_LONG_VRS = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UC", b"UR", b"UT"))
# VRs of PS3.5 table 6.2-1: two other letters in their place are the length of an implicit element.
_VRS = _LONG_VRS.union(
    vr.encode()
    for vr in (
        "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL",
        "SS", "ST", "SV", "TM", "UI", "UL", "US", "UV",
    )
)  # fmt: skip
_CLASS, _INSTANCE, _SYNTAX = 0x0002, 0x0003, 0x0010


class ProblemKind(StrEnum):
    """Why a file is not sent."""

    EMPTY = "empty"
    NOT_DICOM = "not_dicom"
    TRUNCATED = "truncated"
    NO_UIDS = "no_uids"
    NOT_STORABLE = "not_storable"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file that is not sent. `detail` is for people and has nothing of the patient."""

    path: Path
    kind: ProblemKind
    detail: str


@dataclass(frozen=True, slots=True)
class OutgoingInstance:
    """A data set in a file: its bytes are `size_bytes` from `offset_bytes` on, group 2 aside.

    `warning` is for people: what is sent is all there is, and it is not whole. `finding` too: what
    the file is beside DICOM, of which nothing is sent.
    """

    path: Path
    offset_bytes: int
    size_bytes: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    warning: str = ""
    study_instance_uid: str = ""
    finding: str = ""


@dataclass(frozen=True, slots=True)
class _Start:
    """Where the data set begins, and what group 2 said ('' where it said nothing)."""

    offset_bytes: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    has_preamble: bool = False


def read_outgoing(path: Path) -> OutgoingInstance | FileProblem:
    """What is to be sent of a file: Part 10, without preamble, or a bare data set.

    UIDs are the data set's, group 2's where it has none. Never raises for a file's content or
    for a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, 2)
            return _read(path, file, size_bytes)
    except OSError as cause:
        return FileProblem(path, ProblemKind.UNREADABLE, cause.strerror or type(cause).__name__)


def _read(path: Path, file: BinaryIO, size_bytes: int) -> OutgoingInstance | FileProblem:
    if not size_bytes:
        return FileProblem(path, ProblemKind.EMPTY, "the file has no bytes")
    file.seek(0)
    head = file.read(_META_BYTES_MAX)
    start = _find_start(head)
    if start is None and is_part10(head):
        return FileProblem(path, ProblemKind.TRUNCATED, "group 2 does not end")
    if start is None:
        return FileProblem(path, ProblemKind.NOT_DICOM, "neither Part 10 nor a bare data set")
    length = size_bytes - start.offset_bytes
    syntax = start.transfer_syntax_uid or _guess_syntax(head[start.offset_bytes :])
    file.seek(start.offset_bytes)
    scanned = scan_header(file, length, syntax)
    sop_class_uid = scanned.sop_class_uid or start.sop_class_uid
    sop_instance_uid = scanned.sop_instance_uid or start.sop_instance_uid
    if _MEDIA_DIRECTORY in (start.sop_class_uid, sop_class_uid):
        return FileProblem(path, ProblemKind.NOT_STORABLE, "a DICOMDIR is not an instance")
    is_cut = scanned.reason == HeaderReason.TRUNCATED
    if length == 0 or (is_cut and not scanned.sop_instance_uid):
        return FileProblem(path, ProblemKind.TRUNCATED, "the data set ends before its UIDs")
    if not (is_uid(sop_class_uid) and is_uid(sop_instance_uid)):
        return FileProblem(path, ProblemKind.NO_UIDS, "no SOP Class UID or SOP Instance UID")
    # A cut file may be the last copy of an image: it is sent as it is, and said to be cut.
    warning = "the data set ends inside an element" if is_cut else ""
    return OutgoingInstance(
        path,
        start.offset_bytes,
        length,
        sop_class_uid,
        sop_instance_uid,
        syntax,
        warning,
        scanned.study_instance_uid,
        preamble_finding(head) if start.has_preamble else "",
    )


def is_part10(head: bytes) -> bool:
    """Whether the first bytes of a file are a preamble and "DICM" (PS3.10 7.1)."""
    return head[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == _PREFIX


def _find_start(head: bytes) -> _Start | None:
    if is_part10(head):
        start = _skip_meta(head, PREAMBLE_BYTES + 4)
        return start and replace(start, has_preamble=True)
    if head[:4] == _PREFIX:
        return _skip_meta(head, 4)
    if head[:2] == b"\x02\x00":
        return _skip_meta(head, 0)
    if head[:2] in (b"\x08\x00", b"\x00\x08") and len(head) >= 8:
        return _Start(0, "", "", "")
    return None


def _skip_meta(head: bytes, position: int) -> _Start | None:
    """Steps over group 2, whose own length element is often wrong; None where it never ends."""
    values: dict[int, str] = {}
    while head[position : position + 2] == b"\x02\x00":
        element = _meta_element(head, position)
        if element is None:
            return None
        number, value_at, length = element
        position = value_at + length
        if number in (_CLASS, _INSTANCE, _SYNTAX):
            values[number] = head[value_at:position].decode("latin-1").strip("\0 ")
    if position > len(head):
        return None
    syntax = values.get(_SYNTAX, "")
    return _Start(
        position,
        values.get(_CLASS, ""),
        values.get(_INSTANCE, ""),
        syntax if is_uid(syntax) else "",
    )


def _meta_element(head: bytes, position: int) -> tuple[int, int, int] | None:
    """Element number, position and length of its value; explicit VR, or implicit by mistake."""
    if len(head) - position < 12:
        return None
    number = int.from_bytes(head[position + 2 : position + 4], "little")
    vr = head[position + 4 : position + 6]
    if not (vr.isalpha() and vr.isupper()):
        return number, position + 8, struct.unpack_from("<I", head, position + 4)[0]
    if vr in _LONG_VRS:
        return number, position + 12, struct.unpack_from("<I", head, position + 8)[0]
    return number, position + 8, struct.unpack_from("<H", head, position + 6)[0]


def _guess_syntax(data_set: bytes) -> str:
    if data_set[:2] == b"\x00\x08":
        return _EXPLICIT_BIG
    return _EXPLICIT_LITTLE if data_set[4:6] in _VRS else _IMPLICIT_LITTLE
