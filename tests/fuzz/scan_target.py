"""The header scan under fuzzing: what must hold of any header, whatever the bytes.

Invariant: with or without the memo, from memory or from a file, the header is the same, it is
DICOM JSON within the limits, and it names the UIDs that the receive path read. The first byte of a
case chooses transfer syntax, source and limits. Must not compare with pydicom (`scan_oracle`).
"""

from __future__ import annotations

import dataclasses
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import orjson

from contracts.identity import is_uid
from edge_gateway.scan import (
    EventLimits,
    HeaderReason,
    ScanLimits,
    ScannedHeader,
    Unreadable,
    fit_event,
    identifying_uids,
    scan_header,
)
from edge_gateway.scan import fragments as fragments_module
from edge_gateway.scan import header as header_module
from edge_gateway.scan.fragments import FragmentMemo, Table
from tests.fuzz.target import require

SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.205",
    "1.2.840.10008.1.20",
    "1.2.826.0.1.3680043.8.498.2",
)
DEFLATED = frozenset((SYNTAXES[3], SYNTAXES[5]))
SMALL, PACK, IN_FILE, CUT_FILE, WARM = 0x08, 0x10, 0x20, 0x40, 0x80
SMALL_LIMITS = ScanLimits(
    depth_max=4,
    element_bytes_max=512,
    header_bytes_max=16_384,
    json_bytes_max=16_384,
    inflate_bytes_max=16_384,
    inline_bytes_max=32,
    value_bytes_max=128,
    pixel_fragments_max=8,
    padding_bytes_max=64,
)
LIMITS = ScanLimits()
# So small that it forgets within a case, which the process's own does once in days.
_MEMO_BYTES_MAX, _TABLES_MAX = 8_000, 16
# Read before a case, so that its elements are known under another character set already.
_GREEK = (
    b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 126",
    b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 126",
)
_EVENT = EventLimits(plain_bytes_max=1 << 20, compressed_bytes_max=64 << 10)
_TAG = re.compile(r"[0-9A-F]{8}")
_BULK = re.compile(r"sha256:([0-9a-f]{64})?\?length=([0-9]+)")
_TEXT = frozenset(
    ["AE", "AS", "AT", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
)
_WHOLE = {"US": (0, 2**16), "SS": (-(2**15), 2**15), "UL": (0, 2**32), "SL": (-(2**31), 2**31)}
_REAL = frozenset(("FL", "FD"))
_LETTERS = frozenset(("DS", "IS", "SV", "UV"))  # numbers, or what could not be one
_BINARY = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
_PIXEL_DATA = frozenset(("7FE00008", "7FE00009", "7FE00010"))
_NAME_GROUPS = frozenset(("Alphabetic", "Ideographic", "Phonetic"))


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A case taken apart: a data set as a peer would send it, and how it is scanned."""

    encoded: bytes
    transfer_syntax_uid: str
    limits: ScanLimits
    is_in_file: bool
    is_warm: bool
    size_bytes: int


def case_of(data: bytes) -> Case:
    """With PACK the bytes behind the first are deflated here, so that changes reach inside."""
    mode, encoded = (data[0], data[1:]) if data else (0, b"")
    syntax = SYNTAXES[mode & 7]
    if syntax in DEFLATED and mode & PACK:
        packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
        encoded = packer.compress(encoded) + packer.flush()
    limits = SMALL_LIMITS if mode & SMALL else LIMITS
    size_bytes = len(encoded) + (100 if mode & CUT_FILE else 0)
    is_in_file = bool(mode & (IN_FILE | CUT_FILE))
    return Case(encoded, syntax, limits, is_in_file, bool(mode & WARM), size_bytes)


def scan_case(case: Case) -> ScannedHeader:
    """The header, read from a file where the case says so."""
    read: bytes | BinaryIO = io.BytesIO(case.encoded) if case.is_in_file else case.encoded
    return scan_header(read, case.size_bytes, case.transfer_syntax_uid, case.limits)


class _NoMemo(FragmentMemo):
    """Remembers nothing: what is read with it was decided by its own bytes."""

    def remember(self, table: Table, encoded: bytes, fragment: bytes) -> None:
        return


@contextmanager
def memo(instead: FragmentMemo) -> Iterator[None]:
    """The scan has this memo, and few tables, while the block runs."""
    kept = header_module._MEMO, fragments_module.TABLES_MAX
    header_module._MEMO, fragments_module.TABLES_MAX = instead, _TABLES_MAX
    try:
        yield
    finally:
        header_module._MEMO, fragments_module.TABLES_MAX = kept


def check(data: bytes) -> None:
    """One case. Raises Violation, or what the scan should not have let out."""
    # A memo of its own: what a case finds is its own doing.
    with memo(FragmentMemo(_MEMO_BYTES_MAX)):
        _check(case_of(data))


def _check(case: Case) -> None:
    if case.is_warm:
        _warm(case)
    header = scan_case(case)
    _check_header(header, case.limits)
    _check_inflated(case, header)
    if case.limits is LIMITS:
        require(scan_case(case) == header, "a second scan gives the same header")
        with memo(_NoMemo()):
            require(scan_case(case) == header, "the memo changes nothing")
    if case.size_bytes == len(case.encoded):
        _check_other_source(case, header)
    _check_identified(case, header)
    fitted = fit_event(header, _EVENT)
    require(len(fitted.header_json) <= _EVENT.plain_bytes_max, "event: plain size")
    if fitted.header_json is not header.header_json:
        require(not fitted.is_complete and fitted.reason is not None, "event: says it is not whole")
        _check_json(fitted.header_json, case.limits)


def _warm(case: Case) -> None:
    """The same bytes behind another character set, then in other encodings."""
    for greek, syntax in zip((*_GREEK, b"", b""), (*SYNTAXES[:3], SYNTAXES[0]), strict=True):
        encoded = greek + case.encoded
        scan_header(encoded, len(encoded), syntax)


def _check_header(header: ScannedHeader, limits: ScanLimits) -> None:
    require(header.reason is not HeaderReason.SCANNER_FAULT, "no fault of our own")
    require(header.is_complete == (header.reason is None), "complete, or a reason")
    require(len(header.header_json) <= limits.json_bytes_max + 2, "JSON within its limit")
    uids = (header.study_instance_uid, header.series_instance_uid)
    for uid in (*uids, header.sop_class_uid, header.sop_instance_uid):
        require(not uid or is_uid(uid), "a UID or nothing")
    _check_json(header.header_json, limits)


def _check_json(header_json: bytes, limits: ScanLimits) -> None:
    loaded = orjson.loads(header_json)
    # Of two attributes of one name the reader keeps one, so a second shows here.
    require(orjson.dumps(loaded) == header_json, "an object of attributes that are there once")
    _check_attributes(loaded, limits, 0)


def _check_attributes(attributes: dict[str, Any], limits: ScanLimits, depth: int) -> None:
    require(depth <= limits.depth_max, "nesting within its limit")
    previous = ""
    for tag, attribute in attributes.items():
        require(tag > previous and _TAG.fullmatch(tag) is not None, "tags ascend")
        require(not tag.endswith("0000"), "no group length")
        previous = tag
        vr = attribute["vr"]
        kind = attribute.keys() - {"vr"}
        if kind == {"BulkDataURI"}:
            _check_bulk(tag, vr, attribute["BulkDataURI"], limits)
        elif kind == {"InlineBinary"}:
            require(vr in _BINARY and bool(attribute["InlineBinary"]), "binary of a binary VR")
            length_max = max(limits.inline_bytes_max, limits.value_bytes_max)
            require(len(attribute["InlineBinary"]) <= length_max * 4 // 3 + 4, "inline: length")
        elif vr == "SQ":
            for item in attribute.get("Value", []):
                _check_attributes(item, limits, depth + 1)
        else:
            require(kind <= {"Value"}, "vr and one of three")
            _check_values(vr, attribute.get("Value"), limits)


def _check_bulk(tag: str, vr: str, uri: str, limits: ScanLimits) -> None:
    found = _BULK.fullmatch(uri)
    require(found is not None, "BulkDataURI")
    if found and found[1] and vr != "SQ":
        require(tag not in _PIXEL_DATA, "pixel data is not hashed")
        require(int(found[2]) <= limits.element_bytes_max, "hashed: length")


def _check_values(vr: str, values: list[Any] | None, limits: ScanLimits) -> None:
    if values is None:
        return
    require(
        (bool(values) and any(value is not None for value in values)) or len(values) > 1, "empty"
    )
    for value in values:
        if value is None:
            require(vr in _TEXT or vr in _LETTERS or vr == "PN", "null is for texts")
        elif vr in _TEXT:
            require(isinstance(value, str) and len(value) <= limits.value_bytes_max, "text")
        elif vr in _WHOLE:
            low, high = _WHOLE[vr]
            # A LUT Descriptor's first value counts entries, in whichever VR.
            high = 2**16 if vr == "SS" else high
            require(type(value) is int and low <= value < high, "integer of its VR")
        elif vr in _REAL:
            is_word = value in ("NaN", "Infinity", "-Infinity")
            require(is_word or isinstance(value, float | int), "floating point")
        elif vr == "PN":
            require(bool(value) and value.keys() <= _NAME_GROUPS, "person name")
        else:
            require(vr in _LETTERS and isinstance(value, str | int | float), "number or its text")


def _check_inflated(case: Case, header: ScannedHeader) -> None:
    if case.transfer_syntax_uid not in DEFLATED or not header.is_complete:
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(case.encoded, case.limits.inflate_bytes_max + 1)
    require(len(inflated) <= case.limits.inflate_bytes_max, "inflated within its limit")


def _check_other_source(case: Case, header: ScannedHeader) -> None:
    if case.is_in_file:
        read: bytes | memoryview = case.encoded
    else:
        read = memoryview(case.encoded)
    other = scan_header(read, case.size_bytes, case.transfer_syntax_uid, case.limits)
    require(other == header, "memory, view and file give the same header")


def _check_identified(case: Case, header: ScannedHeader) -> None:
    found = identifying_uids(memoryview(case.encoded), case.transfer_syntax_uid)
    if isinstance(found, Unreadable):
        is_skipped = found is Unreadable.SKIPPED
        is_private = header.reason is HeaderReason.PRIVATE_TRANSFER_SYNTAX
        require(is_skipped == is_private, "skipped where the syntax is private")
        return
    if header.is_complete:
        for ours, scanned in zip(
            found, (header.sop_class_uid, header.sop_instance_uid), strict=True
        ):
            # None where the elements are out of order: the receive path looks at the front only.
            if ours is not None and is_uid(ours):
                require(ours == scanned, "the receive path and the scan read the same UID")
