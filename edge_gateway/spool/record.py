"""One record as bytes: a 48-byte head, JSON, body, padding to eight bytes.

Invariant: a record counts only in the segment life (generation) and at the place in the log
(sequence) it was written for, because both seed its CRC-32C sums. The head and JSON have a sum
of their own that covers the body's sum, so the log can be walked without reading the bodies.
Must not touch the disk.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from crc32c import crc32c

from edge_gateway.spool.entry import RecordKind
from edge_gateway.spool.filesystem import Bytes

MAGIC = b"HiRc"
ALIGNMENT_BYTES = 8
# magic, kind, reserved, generation, sequence, body length, meta length
_FIELDS = struct.Struct("<4sHHQQQI")
# sum of the body, sum of fields + body sum + meta, reserved
_SUMS = struct.Struct("<III")
_SEED = struct.Struct("<QQ")
_BODY_SUM = struct.Struct("<I")
HEAD_BYTES = _FIELDS.size + _SUMS.size
_KINDS = frozenset(RecordKind)


@dataclass(frozen=True, slots=True)
class RecordHead:
    """The fixed part of a record."""

    kind: RecordKind
    generation: int
    sequence: int
    meta_bytes: int
    body_bytes: int
    body_sum: int
    head_sum: int

    @property
    def size_bytes(self) -> int:
        """The whole record with its padding."""
        return record_bytes(self.meta_bytes, self.body_bytes)

    @property
    def body_offset_bytes(self) -> int:
        """Where the body begins, from the record's first byte."""
        return HEAD_BYTES + self.meta_bytes


def record_bytes(meta_bytes: int, body_bytes: int) -> int:
    """The length of a record on disk."""
    return -(-(HEAD_BYTES + meta_bytes + body_bytes) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def padding(meta_bytes: int, body_bytes: int) -> bytes:
    """What follows a record's body."""
    return bytes(-(HEAD_BYTES + meta_bytes + body_bytes) % ALIGNMENT_BYTES)


def encode_record(
    kind: RecordKind, generation: int, sequence: int, meta: bytes, body: Sequence[Bytes]
) -> list[Bytes]:
    """The buffers of one record, in order; the body is not copied."""
    body_bytes = sum(len(part) for part in body)
    fields = _FIELDS.pack(MAGIC, kind, 0, generation, sequence, body_bytes, len(meta))
    seed = _seed(generation, sequence)
    body_sum = seed
    for part in body:
        body_sum = crc32c(part, body_sum)
    sums = _SUMS.pack(body_sum, _head_sum(fields, body_sum, meta, seed), 0)
    return [fields + sums + meta, *body, padding(len(meta), body_bytes)]


def parse_head(block: bytes) -> RecordHead | None:
    """The head at the front of `block`, unverified; None when these are no head's bytes."""
    if len(block) < HEAD_BYTES or not block.startswith(MAGIC):
        return None
    _, kind, reserved, generation, sequence, body_bytes, meta_bytes = _FIELDS.unpack_from(block)
    body_sum, head_sum, zero = _SUMS.unpack_from(block, _FIELDS.size)
    if kind not in _KINDS or reserved or zero:
        return None
    return RecordHead(
        RecordKind(kind), generation, sequence, meta_bytes, body_bytes, body_sum, head_sum
    )


def is_head_valid(head: RecordHead, block: bytes, meta: bytes) -> bool:
    """Whether head and meta are the bytes that were written for this generation and sequence."""
    seed = _seed(head.generation, head.sequence)
    return _head_sum(block[: _FIELDS.size], head.body_sum, meta, seed) == head.head_sum


def is_body_valid(head: RecordHead, body: Bytes) -> bool:
    """Whether `body` is the bytes that were written for this generation and sequence."""
    seed = _seed(head.generation, head.sequence)
    return len(body) == head.body_bytes and crc32c(body, seed) == head.body_sum


def _seed(generation: int, sequence: int) -> int:
    return int(crc32c(_SEED.pack(generation, sequence)))


def _head_sum(fields: bytes, body_sum: int, meta: bytes, seed: int) -> int:
    return int(crc32c(meta, crc32c(_BODY_SUM.pack(body_sum), crc32c(fields, seed))))
