"""A segment file as it lies on disk: header block, records, footer block; and reading one.

Invariant: only bytes whose sums fit this life of the segment (its random generation) are handed
out; a recycled segment's old records never are. Must not write.
"""

from __future__ import annotations

import struct
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from crc32c import crc32c

from edge_gateway.spool.errors import SpoolCorrupt
from edge_gateway.spool.filesystem import READ, FileSystem
from edge_gateway.spool.limits import META_BYTES_MAX, MIB
from edge_gateway.spool.record import (
    ALIGNMENT_BYTES,
    HEAD_BYTES,
    MAGIC,
    RecordHead,
    is_body_valid,
    is_head_valid,
    parse_head,
)

BLOCK_BYTES = 4096
_FORMAT_VERSION = 1
_HEADER_MAGIC = b"HilumSeg"
_FOOTER_MAGIC = b"HilumEnd"
# magic, format version, reserved, number, generation, segment length
_HEADER = struct.Struct("<8sIIQQQ")
# magic, generation, records, end offset, first sequence, last sequence
_FOOTER = struct.Struct("<8sQQQQQ")
_SUM = struct.Struct("<I")
# Head and JSON of a usual record fit, so that walking the log costs one read a record.
_FIRST_READ_BYTES = 1536
_SEARCH_BYTES = MIB


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """Which segment this is, in this life. The generation is random: unique and unguessable."""

    number: int
    generation: int
    segment_bytes: int

    def pack(self) -> bytes:
        """One block; written before the first record of this life and flushed."""
        fields = _HEADER.pack(
            _HEADER_MAGIC, _FORMAT_VERSION, 0, self.number, self.generation, self.segment_bytes
        )
        return (fields + _SUM.pack(crc32c(fields))).ljust(BLOCK_BYTES, b"\0")


@dataclass(frozen=True, slots=True)
class SegmentFooter:
    """What a sealed segment holds; trusted without reading its records."""

    generation: int
    records: int
    end_offset_bytes: int
    first_sequence: int
    last_sequence: int

    def pack(self) -> bytes:
        """One block, written when all records are flushed."""
        fields = _FOOTER.pack(
            _FOOTER_MAGIC,
            self.generation,
            self.records,
            self.end_offset_bytes,
            self.first_sequence,
            self.last_sequence,
        )
        return (fields + _SUM.pack(crc32c(fields))).ljust(BLOCK_BYTES, b"\0")


@dataclass(frozen=True, slots=True)
class FoundRecord:
    """A record whose head and meta are valid; its body is not yet looked at."""

    head: RecordHead
    meta: bytes
    offset_bytes: int

    @property
    def end_bytes(self) -> int:
        return self.offset_bytes + self.head.size_bytes


class SegmentFile:
    """One segment opened for reading. Raises SpoolCorrupt when its header is not valid."""

    def __init__(self, fs: FileSystem, path: Path) -> None:
        self._fs = fs
        self.path = path
        self.descriptor = fs.open(path, READ)
        with ExitStack() as unless_valid:
            unless_valid.callback(self.close)
            self.header = _read_header(fs, self.descriptor, path)
            self.footer = self.read_footer()
            unless_valid.pop_all()

    @property
    def capacity_bytes(self) -> int:
        """The offset that no record reaches beyond."""
        return self.header.segment_bytes - BLOCK_BYTES

    def close(self) -> None:
        self._fs.close(self.descriptor)

    def read_footer(self) -> SegmentFooter | None:
        """The footer of this life; None while the segment is not sealed."""
        block = self._fs.read_at(
            self.descriptor, BLOCK_BYTES, self.header.segment_bytes - BLOCK_BYTES
        )
        if len(block) < _FOOTER.size + _SUM.size or not block.startswith(_FOOTER_MAGIC):
            return None
        (summed,) = _SUM.unpack_from(block, _FOOTER.size)
        footer = SegmentFooter(*_FOOTER.unpack_from(block)[1:])
        if summed != crc32c(block[: _FOOTER.size]):
            return None
        return footer if footer.generation == self.header.generation else None

    def record_at(self, offset_bytes: int) -> FoundRecord | None:
        """The record whose first byte lies at `offset_bytes`; None when none of this life does."""
        block = self._fs.read_at(self.descriptor, _FIRST_READ_BYTES, offset_bytes)
        head = parse_head(block)
        if head is None or head.generation != self.header.generation:
            return None
        if head.meta_bytes > META_BYTES_MAX:
            return None
        if offset_bytes + head.size_bytes > self.capacity_bytes:
            return None
        meta = block[HEAD_BYTES : HEAD_BYTES + head.meta_bytes]
        if len(meta) < head.meta_bytes:
            meta = self._fs.read_at(self.descriptor, head.meta_bytes, offset_bytes + HEAD_BYTES)
        if not is_head_valid(head, block, meta):
            return None
        return FoundRecord(head, meta, offset_bytes)

    def body_of(self, record: FoundRecord) -> bytes | None:
        """The body's bytes, verified; None when they are not those that were written."""
        start = record.offset_bytes + record.head.body_offset_bytes
        body = self._fs.read_at(self.descriptor, record.head.body_bytes, start)
        return body if is_body_valid(record.head, body) else None

    def search(self, start_bytes: int, end_bytes: int, after_sequence: int) -> int | None:
        """The offset of the first record in [start, end) that comes after `after_sequence`.

        Only for ranges that are known to have been flushed: it steps over rotten bytes.
        """
        base = start_bytes
        while base < end_bytes:
            length = min(_SEARCH_BYTES, end_bytes - base)
            block = self._fs.read_at(self.descriptor, length, base)
            place = block.find(MAGIC)
            while place >= 0:
                if (base + place) % ALIGNMENT_BYTES == 0:
                    found = self.record_at(base + place)
                    if found is not None and found.head.sequence > after_sequence:
                        return base + place
                place = block.find(MAGIC, place + 1)
            base += length
        return None


def _read_header(fs: FileSystem, descriptor: int, path: Path) -> SegmentHeader:
    block = fs.read_at(descriptor, BLOCK_BYTES, 0)
    if len(block) < _HEADER.size + _SUM.size:
        raise SpoolCorrupt(f"reading {path}: no segment header")
    magic, version, _, number, generation, segment_bytes = _HEADER.unpack_from(block)
    (summed,) = _SUM.unpack_from(block, _HEADER.size)
    if summed != crc32c(block[: _HEADER.size]) or magic != _HEADER_MAGIC:
        raise SpoolCorrupt(f"reading {path}: segment header is not valid")
    if version != _FORMAT_VERSION or segment_bytes != fs.size_bytes(descriptor):
        raise SpoolCorrupt(f"reading {path}: segment header does not fit the file")
    return SegmentHeader(number, generation, segment_bytes)


class SegmentScan:
    """Walks a segment's records from the front, to find out where the log ends.

    Up to `trusted_end_bytes` everything is known to have been flushed: what is not valid there
    has rotted, is noted in `damaged` and stepped over. Behind it the first record that is not
    valid, or whose sequence does not rise, is the torn tail and ends the log at `end_bytes`.
    """

    def __init__(self, segment: SegmentFile, trusted_end_bytes: int) -> None:
        self._segment = segment
        self._trusted_end_bytes = max(trusted_end_bytes, BLOCK_BYTES)
        self.end_bytes = BLOCK_BYTES
        self.records = 0
        self.first_sequence = 0
        self.last_sequence = 0
        self.damaged: list[str] = []

    def next_record(self) -> tuple[FoundRecord, bytes] | None:
        """The next wholly valid record and its body; None at the end of the log."""
        while True:
            found = self._segment.record_at(self.end_bytes)
            is_trusted = self.end_bytes < self._trusted_end_bytes
            if found is None or (self.records and found.head.sequence <= self.last_sequence):
                if not is_trusted:
                    return None
                self._step_over()
                continue
            body = self._segment.body_of(found)
            if body is None:
                if found.end_bytes > self._trusted_end_bytes:
                    return None
                self._note_damage(found.end_bytes)
                continue
            self._count(found)
            return found, body

    def _count(self, found: FoundRecord) -> None:
        if not self.records:
            self.first_sequence = found.head.sequence
        self.records += 1
        self.last_sequence = found.head.sequence
        self.end_bytes = found.end_bytes

    def _step_over(self) -> None:
        place = self._segment.search(
            self.end_bytes + ALIGNMENT_BYTES, self._trusted_end_bytes, self.last_sequence
        )
        self._note_damage(self._trusted_end_bytes if place is None else place)

    def _note_damage(self, end_bytes: int) -> None:
        name = self._segment.path.name
        self.damaged.append(f"{name} bytes {self.end_bytes} to {end_bytes}")
        self.end_bytes = end_bytes
