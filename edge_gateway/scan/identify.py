"""The two UIDs that the receive path compares with the command set, from a data set's first bytes.

Invariant: bounded by the 64 KiB it is given (inflated: by as much); never raises.
It must not read anything else: all other findings belong to the scan, after the answer.
"""

from __future__ import annotations

import zlib
from enum import StrEnum

from edge_gateway.scan.encoding import (
    ITEM_DELIMITATION,
    SEQUENCE_DELIMITATION,
    UNDEFINED_LENGTH,
    Encoding,
    actual_encoding,
    declared_encoding,
    is_deflated,
    read_element_header,
)
from edge_gateway.scan.limits import KIB
from edge_gateway.scan.walk import SOP_CLASS_UID, SOP_INSTANCE_UID

HEAD_BYTES_MAX = 64 * KIB


class Unreadable(StrEnum):
    """Why there is nothing to compare. SKIPPED is no fault: the syntax is private."""

    SKIPPED = "skipped"
    TRUNCATED = "truncated"  # the head ends before the elements could have come
    MALFORMED = "malformed"  # no data set in the encoding that was negotiated


def identifying_uids(
    head: memoryview, transfer_syntax_uid: str
) -> tuple[str | None, str | None] | Unreadable:
    """(0008,0016) and (0008,0018) as the data set has them, padding removed, not validated.

    `head` is the data set's first bytes, of which 64 KiB are looked at. None stands for an
    element that the data set does not have (or has without a value).
    """
    encoding = declared_encoding(transfer_syntax_uid)
    if encoding is None:
        return Unreadable.SKIPPED
    data = bytes(head[:HEAD_BYTES_MAX])
    if is_deflated(transfer_syntax_uid):
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, HEAD_BYTES_MAX)
        except zlib.error:
            return Unreadable.MALFORMED
    return _search(data, actual_encoding(data[:8], encoding))


def _search(data: bytes, encoding: Encoding) -> tuple[str | None, str | None] | Unreadable:
    found: dict[int, str | None] = {}
    position, previous = 0, 0
    while len(found) < 2:
        header = read_element_header(data, position, encoding)
        if header is None:
            if data[position:].strip(b"\0") or len(data) >= HEAD_BYTES_MAX:
                return Unreadable.TRUNCATED
            break
        if header.tag > SOP_INSTANCE_UID:
            break
        if header.tag <= previous or header.tag < 0x00080000:
            return Unreadable.MALFORMED
        previous = header.tag
        value_at = position + header.size_bytes
        position = _after_value(data, value_at, header.length, encoding)
        if position > len(data):
            return Unreadable.TRUNCATED
        if header.tag in (SOP_CLASS_UID, SOP_INSTANCE_UID):
            text = data[value_at:position].decode("latin-1").strip("\0 ")
            found[header.tag] = text or None
    return found.get(SOP_CLASS_UID), found.get(SOP_INSTANCE_UID)


def _after_value(data: bytes, position: int, length: int, encoding: Encoding) -> int:
    """The position behind a value field; beyond `data` where it does not end in there."""
    if length != UNDEFINED_LENGTH:
        return position + length
    # Only (0008,0006) can be a sequence of undefined length here. Delimiters cannot be told from
    # values without walking it, so it is walked: nesting by a count, no recursion.
    depth = 1
    while depth:
        header = read_element_header(data, position, encoding)
        if header is None:
            return len(data) + 1
        position += header.size_bytes
        if header.tag in (SEQUENCE_DELIMITATION, ITEM_DELIMITATION):
            depth -= 1
        elif header.length == UNDEFINED_LENGTH:
            depth += 1
        else:
            position += header.length
    return position
