"""The writable end of one segment: where the next record goes, and its footer.

Invariant: the end moves only over records that are flushed. Must not choose what is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_gateway.spool.errors import SpoolBroken, translate
from edge_gateway.spool.filesystem import Bytes, FileSystem
from edge_gateway.spool.segment import BLOCK_BYTES, SegmentFooter, SegmentHeader, SegmentScan


@dataclass(frozen=True, slots=True)
class WrittenAhead:
    """So many bytes that lie in their place already, not flushed."""

    size_bytes: int

    def __len__(self) -> int:
        return self.size_bytes


class SegmentTail:
    """A segment open for writing; `descriptor` is closed by `close`."""

    def __init__(self, fs: FileSystem, descriptor: int, header: SegmentHeader) -> None:
        self._fs = fs
        self._descriptor = descriptor
        self.header = header
        self.end_bytes = BLOCK_BYTES
        self.records = 0
        self._first_sequence = 0
        self._last_sequence = 0

    def resume(self, scan: SegmentScan) -> None:
        """Goes on behind what a scan found."""
        self.end_bytes = scan.end_bytes
        self.records = scan.records
        self._first_sequence = scan.first_sequence
        self._last_sequence = scan.last_sequence

    @property
    def descriptor(self) -> int:
        """Of the open file."""
        return self._descriptor

    @property
    def last_sequence(self) -> int:
        """Of the last record; 0 where there is none."""
        return self._last_sequence

    @property
    def room_bytes(self) -> int:
        return self.header.segment_bytes - BLOCK_BYTES - self.end_bytes

    def write_ahead(self, buffers: Sequence[Bytes], offset_bytes: int) -> WrittenAhead:
        """Sends to the disk what the next `write` will then pass over. Raises as that.

        Nothing counts by it, and until then nothing else is written here.
        """
        size_bytes = sum(len(buffer) for buffer in buffers)
        self._write_at(buffers, offset_bytes)
        # Whole blocks: the first is written again with the record's head, the last with the next
        # record's.
        start_bytes = -(-offset_bytes // BLOCK_BYTES) * BLOCK_BYTES
        end_bytes = (offset_bytes + size_bytes) // BLOCK_BYTES * BLOCK_BYTES
        self._fs.start_flush(self._descriptor, end_bytes - start_bytes, start_bytes)
        return WrittenAhead(size_bytes)

    def write(self, buffers: Sequence[Bytes | WrittenAhead], sequences: range) -> None:
        """On return these records are flushed and counted; they carry `sequences`.

        Raises SpoolFull when nothing counts and the disk is sound, SpoolBroken for good: after a
        flush that failed, whatever it said, the pages may be gone and marked clean.
        """
        for offset_bytes, run in _runs(buffers, self.end_bytes):
            self._write_at(run, offset_bytes)
        self.flush()
        if not self.records:
            self._first_sequence = sequences.start
        self.records += len(sequences)
        self._last_sequence = sequences.stop - 1
        self.end_bytes += sum(map(len, buffers))

    def flush(self) -> None:
        """On return all that was written survives a power loss. Raises SpoolBroken."""
        try:
            self._fs.flush(self._descriptor)
        except OSError as error:
            text = f"flushing segment {self.header.number}: {error.strerror} (errno {error.errno})"
            raise SpoolBroken(text) from error

    def seal(self) -> None:
        """On return the footer is flushed. Raises like `write`; may be called again then."""
        footer = SegmentFooter(
            self.header.generation,
            self.records,
            self.end_bytes,
            self._first_sequence,
            self._last_sequence,
        )
        place = self.header.segment_bytes - BLOCK_BYTES
        try:
            self._fs.write_at(self._descriptor, [footer.pack()], place)
        except OSError as error:
            raise translate(error, f"sealing segment {self.header.number}") from error
        self.flush()

    def close(self) -> None:
        self._fs.close(self._descriptor)

    def _write_at(self, buffers: Sequence[Bytes], offset_bytes: int) -> None:
        try:
            self._fs.write_at(self._descriptor, buffers, offset_bytes)
        except OSError as error:
            raise translate(error, f"writing segment {self.header.number}") from error


def _runs(
    buffers: Sequence[Bytes | WrittenAhead], offset_bytes: int
) -> Iterator[tuple[int, list[Bytes]]]:
    """What is still to be written, as offset and buffers that lie together there."""
    run: list[Bytes] = []
    for buffer in buffers:
        if isinstance(buffer, WrittenAhead):
            yield offset_bytes, run
            offset_bytes += sum(map(len, run)) + len(buffer)
            run = []
        else:
            run.append(buffer)
    if run:
        yield offset_bytes, run
