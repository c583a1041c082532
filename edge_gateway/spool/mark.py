"""The durable mark: up to where the log is flushed, for the forwarder and for recovery.

Invariant: it is written after the flush it tells of, so it never claims too much, whatever a power
loss leaves of it. It is not flushed itself: a flush per commit would double the price of one, and
an old mark only means that less is known. Without it a forwarder could publish a record out of the
page cache that a power loss then takes away, and stand in the middle of what is written there next.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from crc32c import crc32c

from edge_gateway.spool.filesystem import FileSystem

_MARK = struct.Struct("<8sQQQ")
_SUM = struct.Struct("<I")
_MAGIC = b"HilumDur"


@dataclass(frozen=True, slots=True)
class DurableMark:
    """Everything before `end_bytes` of this life of this segment is flushed."""

    segment_number: int
    generation: int
    end_bytes: int


def write_mark(fs: FileSystem, descriptor: int, mark: DurableMark) -> None:
    """Puts the mark where other processes see it."""
    fields = _MARK.pack(_MAGIC, mark.segment_number, mark.generation, mark.end_bytes)
    fs.write_at(descriptor, [fields + _SUM.pack(crc32c(fields))], 0)


def read_mark(fs: FileSystem, descriptor: int) -> DurableMark | None:
    """The mark, or None when there is none yet or it is being replaced at this moment."""
    block = fs.read_at(descriptor, _MARK.size + _SUM.size, 0)
    if len(block) < _MARK.size + _SUM.size:
        return None
    magic, number, generation, end_bytes = _MARK.unpack_from(block)
    (summed,) = _SUM.unpack_from(block, _MARK.size)
    if magic != _MAGIC or summed != crc32c(block[: _MARK.size]):
        return None
    return DurableMark(number, generation, end_bytes)
