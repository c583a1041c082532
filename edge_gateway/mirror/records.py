"""Whole records out of a stretch of a segment, for being copied as they are.

Invariant: only records whose sums hold for this life of the segment, body included, are taken, up
to the first that is not so. Must not touch the disk.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_gateway.spool import Entry, SpooledDelivery
from edge_gateway.spool.entry import RecordKind, decode_entry
from edge_gateway.spool.record import (
    HEAD_BYTES,
    RecordHead,
    is_body_valid,
    is_head_valid,
    parse_head,
)


@dataclass(frozen=True, slots=True)
class RecordRun:
    """Records one behind the other, with sequences that follow on each other without a gap.

    `entries` are those that say something: checkpoints are among the bytes alone.
    """

    size_bytes: int
    sequences: range
    entries: tuple[Entry, ...]

    @property
    def external(self) -> SpooledDelivery | None:
        """The delivery whose bytes are in a file of their own; it stands alone in its run."""
        first = self.entries[0] if self.entries else None
        return first if isinstance(first, SpooledDelivery) and first.external else None


def first_run(data: bytes, generation: int) -> RecordRun:
    """The run of whole records at the front of `data`, empty where there is none.

    One with a file of its own is not taken together with others: nobody waits for its copying
    whose own record could be flushed before.
    """
    view = memoryview(data)
    entries: list[Entry] = []
    offset, first, count = 0, 0, 0
    while (head := _whole_record(view[offset:], generation)) is not None:
        if count and head.sequence != first + count:
            break
        entry = _entry_of(head, view[offset:])
        is_external = isinstance(entry, SpooledDelivery) and entry.external
        if is_external and count:
            break
        first = first or head.sequence
        count += 1
        offset += head.size_bytes
        if entry is not None:
            entries.append(entry)
        if is_external:
            break
    return RecordRun(offset, range(first, first + count), tuple(entries))


def _whole_record(view: memoryview, generation: int) -> RecordHead | None:
    block = bytes(view[:HEAD_BYTES])
    head = parse_head(block)
    if head is None or head.generation != generation or head.size_bytes > len(view):
        return None
    meta = bytes(view[HEAD_BYTES : head.body_offset_bytes])
    body = view[head.body_offset_bytes : head.body_offset_bytes + head.body_bytes]
    return head if is_head_valid(head, block, meta) and is_body_valid(head, body) else None


def _entry_of(head: RecordHead, view: memoryview) -> Entry | None:
    if head.kind is RecordKind.CHECKPOINT:
        return None
    return decode_entry(head.kind, bytes(view[HEAD_BYTES : head.body_offset_bytes]))
