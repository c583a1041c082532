"""A data set's bytes to its header: the DICOM JSON Model without bulk data, and the UIDs.

Invariant: any content gives a header and says whether it is the whole one; nothing raises but the
caller's own file. It must not know where the header goes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from contracts.identity import is_uid
from edge_gateway.scan.assemble import json_object
from edge_gateway.scan.dictionary import Ambiguity
from edge_gateway.scan.encoding import Encoding, declared_encoding, is_deflated
from edge_gateway.scan.fragments import FragmentMemo
from edge_gateway.scan.limits import HeaderReason, ScanLimits, ScanStop
from edge_gateway.scan.oversize import OversizePlan, plan_oversize
from edge_gateway.scan.scope import Scope
from edge_gateway.scan.source import ByteSource, InflatedWindows, open_source
from edge_gateway.scan.walk import (
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    HeaderWalk,
)

# Raised with every change of what a scan makes of the same bytes.
SCANNER_VERSION: int = 2
_DEFAULT_LIMITS = ScanLimits()
# Shared by all scans of the process; bounded by itself. With it a CT header of 263 elements takes
# 0.3 ms, in explicit and in implicit VR, from memory and from a file (median over the slices of a
# series, one of two shared 2.6 GHz cores); without it 2.4 ms, and pydicom takes 7 ms.
_MEMO = FragmentMemo()
# What a defect of ours could raise over strange content. An OSError is the file's and passes.
_PARSER_FAULTS = (struct.error, ValueError, TypeError, LookupError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True)
class ScannedHeader:
    """The result of a scan. UIDs are '' where the data set has no valid one.

    `header_json` has the attributes in ascending order, without group lengths. `oversize` is what
    `fit_event` needs for a large header, None for others.
    """

    header_json: bytes
    is_complete: bool
    reason: HeaderReason | None
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    oversize: OversizePlan | None = None


def scan_header(
    read: bytes | memoryview | BinaryIO,
    size_bytes: int,
    transfer_syntax_uid: str,
    limits: ScanLimits = _DEFAULT_LIMITS,
) -> ScannedHeader:
    """The header of a data set (group 2 is not part of it) as the DICOM JSON Model (PS3.18 F).

    `read` has the data set's `size_bytes` encoded bytes; a file stands at its first one, is
    seekable, and its pixel data is stepped over. Binary values above `limits.inline_bytes_max`
    and any above `limits.value_bytes_max` are `BulkDataURI` `sha256:<hex>?length=n` over the
    encoded value field; pixel data has no hash, its length includes the encapsulation but not the
    Sequence Delimitation Item. What cannot be read gives `is_complete` False, the reason, and
    the elements before it.
    Raises only what reading the file raises (OSError).
    """
    encoding = declared_encoding(transfer_syntax_uid)
    if encoding is None:
        return _header({}, b"{}", HeaderReason.PRIVATE_TRANSFER_SYNTAX, None)
    try:
        source = open_source(read, size_bytes)
        if is_deflated(transfer_syntax_uid):
            source = InflatedWindows(source, limits.inflate_bytes_max)
        return _scan(source, encoding, limits)
    except _PARSER_FAULTS:
        return _header({}, b"{}", HeaderReason.SCANNER_FAULT, None)


def _scan(source: ByteSource, encoding: Encoding, limits: ScanLimits) -> ScannedHeader:
    # The limits say what is inline, so fragments of other limits are other fragments.
    memo = _MEMO if limits == _DEFAULT_LIMITS else FragmentMemo()
    walk = HeaderWalk(source, limits)
    scope = Scope(encoding, memo)
    walk.run(scope)
    if walk.has_guessed and scope.ambiguity.pixel_representation == 1:
        # A US or SS stood before the element that decides it: once more, knowing the answer.
        walk = HeaderWalk(source, limits)
        walk.run(Scope(encoding, memo, ambiguity=Ambiguity(pixel_representation=1)))
    header_json = json_object(walk.fragments)
    reason, plan = walk.reason, None
    try:
        plan = plan_oversize(walk.fragments, walk.sequences, source, len(header_json))
    except ScanStop as stop:
        reason = reason or stop.reason
    return _header(walk.uids, header_json, reason, plan)


def _header(
    uids: dict[int, bytes],
    header_json: bytes,
    reason: HeaderReason | None,
    oversize: OversizePlan | None,
) -> ScannedHeader:
    return ScannedHeader(
        header_json,
        reason is None,
        reason,
        _uid(uids.get(STUDY_INSTANCE_UID, b"")),
        _uid(uids.get(SERIES_INSTANCE_UID, b"")),
        _uid(uids.get(SOP_INSTANCE_UID, b"")),
        _uid(uids.get(SOP_CLASS_UID, b"")),
        oversize,
    )


def _uid(value: bytes) -> str:
    text = value.decode("latin-1").strip("\0 ")
    return text if is_uid(text) else ""
