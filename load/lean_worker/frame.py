"""A C-STORE-RQ encoded once for a template: PDUs whole, identity written over before each send.

Invariant: what a frame says with an instance's values in place is that instance, byte for byte;
what lies behind the last place is shared and never written. Must not send.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# UIDs that instances are given are of one width: 43 characters and a NUL (PS3.5 9.1).
UID_CHARACTERS = 43
_UID_BYTES = 44
_PLACEHOLDER = b"2.25.".ljust(UID_CHARACTERS, b"1") + b"\0"
_PDU_HEADER_BYTES = 6
_PDV_HEADER_BYTES = 6
# Up to this size a frame is one buffer of each association: one write without gathering.
_WHOLE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """`head` is copied for each association and written over, `tail` is shared.

    `pieces`: start and end in the head, start and end in an instance's values (the SOP Instance
    UID for the command set, then every place in order).
    """

    head: bytes
    tail: bytes
    message_id_at: int
    pieces: tuple[tuple[int, int, int, int], ...]


def encode_frame(
    data_set: bytes,
    places: Sequence[tuple[int, int]],
    sop_class_uid: str,
    context_id: int,
    pdu_bytes_max: int,
) -> Frame:
    """The frame of a template; `places` are offset and length, `pdu_bytes_max` what a PDU's
    variable field may have (PS3.8 D.1)."""
    limit = (pdu_bytes_max - _PDV_HEADER_BYTES) & ~1
    command, message_id_at, uid_at = _command_set(sop_class_uid)
    first = _fragmented(command, (context_id, 0x01), limit)
    cut = _cut(data_set, places, limit)
    head = first + _fragmented(data_set[:cut], (context_id, 0x00), limit, len(data_set) == cut)
    tail = b""
    if cut < len(data_set):
        tail = _fragmented(data_set[cut:], (context_id, 0x00), limit)
    pieces = list(_pieces(uid_at, (0, _UID_BYTES), 0, limit))
    at = _UID_BYTES
    for offset, length in places:
        pieces += _pieces(offset, (at, at + length), len(first), limit)
        at += length
    return Frame(head, tail, _moved(message_id_at, limit), tuple(pieces))


def _command_set(sop_class_uid: str) -> tuple[bytes, int, int]:
    """A C-STORE-RQ (PS3.7 9.3.1.1), and where message id and SOP Instance UID stand in it."""
    class_uid = sop_class_uid.encode("ascii")
    class_uid += b"\0" * (len(class_uid) % 2)
    before_id = _element(0x0002, class_uid) + _element(0x0100, b"\x01\x00")
    before_uid = (
        before_id
        + _element(0x0110, b"\0\0")
        + _element(0x0700, b"\0\0")  # medium
        + _element(0x0800, b"\x01\0")  # a data set follows
    )
    body = before_uid + _element(0x1000, _PLACEHOLDER)
    start = _element(0x0000, struct.pack("<I", len(body)))
    return start + body, len(start) + len(before_id) + 8, len(start) + len(before_uid) + 8


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, element, len(value)) + value


def _cut(data_set: bytes, places: Sequence[tuple[int, int]], limit: int) -> int:
    """Where the tail begins: at a fragment's border behind the last place."""
    if len(data_set) <= _WHOLE_BYTES_MAX:
        return len(data_set)
    end = max((offset + length for offset, length in places), default=0)
    return min(-(-max(end, 1) // limit) * limit, len(data_set))


def _fragmented(data: bytes, kind: tuple[int, int], limit: int, is_last: bool = True) -> bytes:
    """`data` as P-DATA PDUs of one PDV each; `kind` is context id and control header."""
    context_id, control = kind
    pieces: list[bytes | memoryview] = []
    view = memoryview(data)
    for start in range(0, len(data), limit):
        piece = view[start : start + limit]
        ends = is_last and start + limit >= len(data)
        length = len(piece)
        pieces.append(
            struct.pack(
                ">BBIIBB", 0x04, 0, length + 6, length + 2, context_id, control | (2 * ends)
            )
        )
        pieces.append(piece)
    return b"".join(pieces)


def _moved(offset: int, limit: int) -> int:
    """Where a byte at `offset` stands once the data is cut into fragments of `limit`."""
    header = _PDU_HEADER_BYTES + _PDV_HEADER_BYTES
    return offset + (offset // limit + 1) * header


def _pieces(
    offset: int, values: tuple[int, int], base: int, limit: int
) -> Iterator[tuple[int, int, int, int]]:
    """A place in its frame: in two where a fragment's border runs through it."""
    start, end = values
    while start < end:
        take = min(end - start, limit - offset % limit)
        at = base + _moved(offset, limit)
        yield at, at + take, start, start + take
        start, offset = start + take, offset + take
