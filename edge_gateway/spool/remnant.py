"""A delivery saved out of its segment: one record in a small file of its own.

Invariant: the file holds exactly the record that the segment held, under sums seeded anew; it is
whole or absent. Must not decide what is saved.
"""

from __future__ import annotations

from pathlib import Path

from edge_gateway.spool.entry import RecordKind
from edge_gateway.spool.errors import SpoolCorrupt, SpoolEntryGone
from edge_gateway.spool.filesystem import READ, FileSystem
from edge_gateway.spool.layout import write_whole
from edge_gateway.spool.record import (
    HEAD_BYTES,
    RecordHead,
    encode_record,
    is_body_valid,
    is_head_valid,
    parse_head,
)

# Segments have random odd generations; this one is none of theirs.
REMNANT_GENERATION = 0


def write_remnant(fs: FileSystem, path: Path, sequence: int, meta: bytes, body: bytes) -> None:
    """On return the delivery's record is in `path` and survives a power loss. Raises OSError."""
    record = encode_record(RecordKind.DELIVERY, REMNANT_GENERATION, sequence, meta, [body])
    write_whole(fs, path, record)


def read_remnant(fs: FileSystem, path: Path) -> tuple[RecordHead, bytes, bytes]:
    """Head, meta and body, verified. Raises SpoolEntryGone when purged, SpoolCorrupt."""
    try:
        descriptor = fs.open(path, READ)
    except FileNotFoundError as error:
        raise SpoolEntryGone(f"reading {path.name}: it was purged") from error
    try:
        block = fs.read_at(descriptor, fs.size_bytes(descriptor), 0)
    finally:
        fs.close(descriptor)
    head = parse_head(block)
    if head is None or head.generation != REMNANT_GENERATION or head.size_bytes != len(block):
        raise SpoolCorrupt(f"reading {path.name}: no valid record")
    meta = block[HEAD_BYTES : head.body_offset_bytes]
    body = block[head.body_offset_bytes : head.body_offset_bytes + head.body_bytes]
    if not is_head_valid(head, block, meta) or not is_body_valid(head, body):
        raise SpoolCorrupt(f"reading {path.name}: the record is not the one that was written")
    return head, meta, body
