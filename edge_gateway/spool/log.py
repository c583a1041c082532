"""The writing end of the log: the live segment, its sequence, roll-over, ledger and mark.

Invariant: `write` returns only after the flush, and the mark moves only then. Every segment and
every start of the receiver begins with a checkpoint, so recovery reads one segment; a segment is
sealed only when its records and the names of its objects are flushed. Used by one thread at a
time. Must not wait for records; that is the committer's part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from edge_gateway.spool.entry import Entry, RecordKind, SpooledDelivery, kind_of
from edge_gateway.spool.errors import SpoolBroken
from edge_gateway.spool.filesystem import Bytes, FileSystem
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.ledger import Ledger
from edge_gateway.spool.limits import SEGMENT_WAIT_S
from edge_gateway.spool.mark import DurableMark, write_mark
from edge_gateway.spool.pending import Pending
from edge_gateway.spool.record import HEAD_BYTES, encode_record, padding, record_bytes
from edge_gateway.spool.segment import BLOCK_BYTES
from edge_gateway.spool.supply import LaidSegment, SegmentSupply
from edge_gateway.spool.tail import SegmentTail, WrittenAhead

# Sequences of one start of the receiver share their upper half. The first record of a start is
# flushed before any other is written, so two starts never share one, and what a torn write of an
# earlier start left behind the tail cannot continue the sequence of a later one.
SEQUENCES_PER_START = 1 << 32


class SpoolLog:
    """Appends to the live segment and moves on to the next one."""

    def __init__(
        self,
        fs: FileSystem,
        layout: SpoolLayout,
        supply: SegmentSupply,
        ledger: Ledger,
        mark_descriptor: int,
    ) -> None:
        self._fs = fs
        self._layout = layout
        self._supply = supply
        self._ledger = ledger
        self._mark_descriptor = mark_descriptor
        self._tail: SegmentTail | None = None
        self._next: LaidSegment | None = None
        self._is_sealing = False
        self._checkpoint: bytes | None = None
        self._sequence = 0
        self._has_unflushed_names = False
        self.flushes = 0
        self.records = 0
        self.deliveries = 0

    def start(self, tail: SegmentTail | None, last_sequence: int, wait_s: float) -> None:
        """Goes on in `tail` (None: in the supply's first segment) with a new start's numbers.

        The next `write` begins with a checkpoint.
        """
        self._sequence = (last_sequence // SEQUENCES_PER_START + 1) * SEQUENCES_PER_START
        self._tail = tail or self._fresh_tail(self._supply.take(wait_s))
        self._checkpoint = self._ledger.snapshot()

    @property
    def room_bytes(self) -> int:
        """How many bytes of records fit before `roll_over`."""
        if self._is_sealing:
            return 0
        needed = 0 if self._checkpoint is None else record_bytes(0, len(self._checkpoint))
        return self._live.room_bytes - needed

    def write(self, records: Sequence[Pending]) -> None:
        """On return the records are flushed, in the ledger, and below the mark.

        Raises SpoolFull (nothing of them counts) or SpoolBroken.
        """
        first = self._sequence + 1
        buffers: list[Bytes | WrittenAhead] = []
        entries: list[Entry] = []
        ahead = self._write_ahead(records)
        if self._checkpoint is not None:
            buffers += self._encode(RecordKind.CHECKPOINT, b"", [self._checkpoint])
        for pending in records:
            sealed = pending.said.seal()
            entries.append(sealed.entry)
            head, *rest = self._encode(kind_of(sealed.entry), sealed.meta, pending.body)
            buffers += (head, ahead[pending]) if pending in ahead else (head, *rest)
        self._live.write(buffers, range(first, self._sequence + 1))
        self._checkpoint = None
        self.flushes += 1
        self.records += len(records)
        self._publish(entries)

    def write_all(self, records: Sequence[Pending]) -> None:
        """`write` in as many segments as it takes, for recovery. Raises likewise."""
        rest = deque(records)
        while True:
            room_bytes = self.room_bytes
            group: list[Pending] = []
            while rest and rest[0].size_bytes <= room_bytes:
                group.append(rest.popleft())
                room_bytes -= group[-1].size_bytes
            if room_bytes < 0 or (rest and not group):
                self.roll_over()
                continue
            self.write(group)
            if not rest:
                return

    def roll_over(self) -> None:
        """On return the live segment is sealed and the next one, empty, is live.

        Raises SpoolFull when there is no next segment yet; calling it again goes on. SpoolBroken.
        """
        if self._live.end_bytes == BLOCK_BYTES:
            raise SpoolBroken("writing a record: it does not fit an empty segment")
        if self._next is None:
            self._next = self._supply.take(SEGMENT_WAIT_S)
        # From here on nothing more goes in: a footer that is half written may turn out whole.
        self._is_sealing = True
        self._flush_names()
        self._live.seal()
        self._live.close()
        self._tail, self._next = self._fresh_tail(self._next), None
        self._is_sealing = False
        self._checkpoint = self._ledger.snapshot()

    def close(self) -> None:
        """Closes the descriptors; what is not written by now never was."""
        if self._tail is not None:
            self._tail.close()
        if self._next is not None:
            self._fs.close(self._next.descriptor)

    @property
    def _live(self) -> SegmentTail:
        assert self._tail is not None, "the log is written before its start"
        return self._tail

    def _fresh_tail(self, laid: LaidSegment) -> SegmentTail:
        return SegmentTail(self._fs, laid.descriptor, laid.header)

    def _write_ahead(self, records: Sequence[Pending]) -> dict[Pending, WrittenAhead]:
        """Sends bodies to the disk that are not hashed yet; it works while they are.

        No record is there without its head, which is written last: a body alone, or a torn one,
        is what any write leaves that was not flushed. A CT alone takes 0.70 ms so, and 0.88 ms
        where the write follows the hash.
        """
        ahead: dict[Pending, WrittenAhead] = {}
        place = self._live.end_bytes
        if self._checkpoint is not None:
            place += record_bytes(0, len(self._checkpoint))
        for pending in records:
            if not pending.said.is_sealed:
                body = [*pending.body, padding(pending.meta_bytes, pending.body_bytes)]
                at = place + HEAD_BYTES + pending.meta_bytes
                ahead[pending] = self._live.write_ahead(body, at)
            place += pending.size_bytes
        return ahead

    def _encode(self, kind: RecordKind, meta: bytes, body: Sequence[Bytes]) -> list[Bytes]:
        self._sequence += 1
        return encode_record(kind, self._live.header.generation, self._sequence, meta, body)

    def _publish(self, entries: Sequence[Entry]) -> None:
        """Objects get their final names before the mark shows the records that name them."""
        try:
            for entry in entries:
                self._ledger.apply(entry)
                if isinstance(entry, SpooledDelivery):
                    self.deliveries += 1
                    if entry.external:
                        self._finish_object(entry.delivery_id)
            header = self._live.header
            mark = DurableMark(header.number, header.generation, self._live.end_bytes)
            write_mark(self._fs, self._mark_descriptor, mark)
        except OSError as error:
            raise SpoolBroken(f"publishing records: {error}") from error

    def _finish_object(self, delivery_id: str) -> None:
        source = self._layout.unfinished_object(delivery_id)
        self._fs.rename(source, self._layout.object(delivery_id))
        # Not flushed here: until the segment is sealed recovery finds the record and renames.
        self._has_unflushed_names = True

    def _flush_names(self) -> None:
        if not self._has_unflushed_names:
            return
        try:
            self._fs.flush_directory(self._layout.objects)
        except OSError as error:
            raise SpoolBroken(f"flushing {self._layout.objects}: {error.strerror}") from error
        self._has_unflushed_names = False
