"""Follows the first spool's log, as the forwarder does, and copies it into the mirror.

Invariant: `holds` speaks of deliveries alone whose record and bytes were verified and then flushed
in the mirror; what is durable in the first spool is copied in its order, at its place. Must not
write into the first spool, and must not wait for records.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from edge_gateway.mirror.mirror_spool import MirrorSpool
from edge_gateway.mirror.mirrored_objects import Remnant
from edge_gateway.mirror.records import RecordRun, first_run
from edge_gateway.spool import (
    Entry,
    FileSystem,
    Receipt,
    SpoolCorrupt,
    SpooledDelivery,
    SpoolEntryGone,
    SpoolMismatch,
    SpoolReader,
)
from edge_gateway.spool.body import ExternalBody
from edge_gateway.spool.entry import decode_entry
from edge_gateway.spool.filesystem import READ
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.mark import DurableMark, read_mark
from edge_gateway.spool.reading_around import ReadingAround
from edge_gateway.spool.record import ALIGNMENT_BYTES, HEAD_BYTES, parse_head
from edge_gateway.spool.remnant import read_remnant
from edge_gateway.spool.segment import SegmentFile
from infra.telemetry import logger

# One flush's share; a record that is larger goes alone.
RUN_BYTES_MAX = 8 * 1024 * 1024
# Deliveries whose receipt has not come by: of these an association may ask.
HELD_MAX = 100_000
_LOG = logger("mirror")


class Follower:
    """Copies from the spool at `source` into `mirror`. Used by one thread but for `is_whole`."""

    def __init__(self, source: Path, mirror: MirrorSpool, *, fs: FileSystem | None = None) -> None:
        self._fs = fs or ReadingAround()
        self._layout = SpoolLayout(source)
        self._mirror = mirror
        self._segment: SegmentFile | None = None
        self._last_number = mirror.last_number
        self._reached: DurableMark | None = None
        self._held = _unanswered(mirror.last_entries())
        self.records = 0
        self.copied_bytes = 0
        self.damaged = 0
        # Whether there was more than one run to copy at the last step.
        self.is_far_behind = False

    def holds(self, delivery_id: str, content_sha256: str) -> bool:
        """Whether this delivery, not answered yet, was copied and flushed by this follower."""
        return self._held.get(delivery_id) == content_sha256

    def is_whole(self) -> bool:
        """Whether all that is durable in the first spool now is in the mirror. From any thread."""
        mark = self._mark()
        return mark is not None and mark == self._reached

    def behind_bytes(self) -> int:
        """About how much of the first spool's log the mirror lacks."""
        mark = self._mark()
        if mark is None:
            return 0
        header, end_bytes = self._mirror.header, self._mirror.end_bytes
        if header is None or header.number == mark.segment_number:
            return max(0, mark.end_bytes - end_bytes)
        segments = mark.segment_number - header.number
        return max(0, segments * header.segment_bytes + mark.end_bytes - end_bytes)

    def step(self) -> bool:
        """Copies the next run of records; whether there was one. Raises SpoolFull, SpoolBroken."""
        mark = self._mark()
        if mark is None or not self._is_open(mark):
            return False
        segment = self._segment
        assert segment is not None
        at_bytes, end_bytes = self._mirror.end_bytes, self._readable_end(segment, mark)
        if at_bytes < end_bytes:
            self._copy(segment, at_bytes, end_bytes)
            self.is_far_behind = self._mirror.end_bytes < end_bytes
            return True
        if mark.segment_number > segment.header.number:
            self._leave_segment()
            self.is_far_behind = True
            return True
        self.is_far_behind = False
        self._note_reached(segment)
        return False

    def require_room(self) -> None:
        """Raises SpoolFull at a watermark of the mirror, SpoolBroken where its disk fails."""
        self._mirror.require_room()

    def bring_remnants(self) -> None:
        """Copies what the first spool copied forward: its segments may be gone.

        Raises SpoolFull, SpoolBroken.
        """
        reader = SpoolReader(self._layout.directory, fs=self._fs)
        known = set(SpoolReader(self._mirror.directory, fs=self._fs).remnant_ids())
        for delivery_id in reader.remnant_ids():
            if delivery_id in known:
                continue
            try:
                self._bring_remnant(delivery_id)
            except (SpoolCorrupt, SpoolEntryGone) as problem:
                _LOG.warning("not mirrored", delivery_id=delivery_id, problem=str(problem))

    def close(self) -> None:
        """Lets go of the first spool's files."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _mark(self) -> DurableMark | None:
        # By its name each time: a directory that was deleted would have a mark for ever.
        try:
            descriptor = self._fs.open(self._layout.mark, READ)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return read_mark(self._fs, descriptor)
        finally:
            self._fs.close(descriptor)

    def _is_open(self, mark: DurableMark) -> bool:
        """Whether there is a segment to copy from; opens the next one."""
        if self._segment is not None:
            return True
        numbers = self._layout.segment_numbers(self._fs)
        header = self._mirror.header
        if header is not None and header.number in numbers:
            return self._is_opened(header.number)
        if header is not None:
            if mark.segment_number <= header.number:
                return False
            # Released there, where all of it is archived: what the mirror has of it is enough.
            self._mirror.seal()
        number = next((n for n in numbers if self._last_number < n <= mark.segment_number), None)
        return number is not None and self._is_opened(number)

    def _is_opened(self, number: int) -> bool:
        try:
            segment = SegmentFile(self._fs, self._layout.segment(number))
        except FileNotFoundError:
            return False
        except SpoolCorrupt as problem:
            self._note_damage(str(problem))
            if self._mirror.header is not None:
                self._mirror.seal()
            self._last_number = number
            return False
        header = self._mirror.header
        with ExitStack() as unless_opened:
            unless_opened.callback(segment.close)
            if header is None:
                self._mirror.begin_segment(segment.header)
            elif header != segment.header:
                raise SpoolMismatch(
                    f"following {self._layout.directory}: its segment {number} is another one"
                    f" than that of the mirror {self._mirror.directory}",
                    "was a spool restored? move the mirror out of spool.mirror_directory",
                )
            unless_opened.pop_all()
        self._segment, self._last_number = segment, number
        return True

    def _readable_end(self, segment: SegmentFile, mark: DurableMark) -> int:
        header = segment.header
        if mark.segment_number == header.number:
            return mark.end_bytes if mark.generation == header.generation else 0
        if mark.segment_number < header.number:
            # An old mark after a power loss: the receiver's next start brings it up to date.
            return 0
        footer = segment.read_footer()
        return segment.capacity_bytes if footer is None else footer.end_offset_bytes

    def _copy(self, segment: SegmentFile, at_bytes: int, end_bytes: int) -> None:
        data = self._read(segment, at_bytes, min(end_bytes - at_bytes, RUN_BYTES_MAX))
        run = first_run(data, segment.header.generation)
        head = parse_head(data[:HEAD_BYTES])
        if not run.sequences and head is not None and len(data) < head.size_bytes:
            data = self._read(segment, at_bytes, min(end_bytes - at_bytes, head.size_bytes))
            run = first_run(data, segment.header.generation)
        if not run.sequences:
            self._step_over(segment, at_bytes, end_bytes)
            return
        external = run.external
        is_brought = external is None or self._is_object_brought(external)
        self._mirror.append([memoryview(data)[: run.size_bytes]], run.sequences)
        if external is not None and is_brought:
            self._mirror.objects.finish(external.delivery_id)
        self._mirror.publish()
        self._note_copied(run, is_brought)
        self._note_reached(segment)

    def _read(self, segment: SegmentFile, at_bytes: int, length_bytes: int) -> bytes:
        return self._fs.read_at(segment.descriptor, length_bytes, at_bytes)

    def _is_object_brought(self, delivery: SpooledDelivery) -> bool:
        try:
            self._bring_object(delivery)
        except SpoolEntryGone:
            return False  # purged, which is after it was archived
        except SpoolCorrupt as problem:
            self._note_damage(str(problem))
            return False
        return True

    def _bring_object(self, delivery: SpooledDelivery) -> None:
        path = self._layout.object(delivery.delivery_id)
        facts = delivery.size_bytes, delivery.content_sha256
        with ExternalBody(self._fs, path, *facts) as body:
            self._mirror.require_room()
            self._mirror.objects.bring(body, delivery.delivery_id)

    def _bring_remnant(self, delivery_id: str) -> None:
        head, meta, body = read_remnant(self._fs, self._layout.remnant(delivery_id))
        delivery = decode_entry(head.kind, meta)
        if not isinstance(delivery, SpooledDelivery):
            raise SpoolCorrupt(f"copying {delivery_id}: it is no delivery")
        if delivery.external:
            self._bring_object(delivery)
            self._mirror.objects.finish(delivery_id)
        self._mirror.require_room()
        self._mirror.objects.bring_remnant(Remnant(delivery_id, head.sequence, meta, body))

    def _step_over(self, segment: SegmentFile, at_bytes: int, end_bytes: int) -> None:
        """Copies bytes that are no record as they are: the places behind them stay the same.

        In a segment that was released and recycled meanwhile nothing is left to be copied.
        """
        if not self._fs.is_named(segment.descriptor, self._layout.segment(segment.header.number)):
            self._leave_segment()
            return
        place = segment.search(at_bytes + ALIGNMENT_BYTES, end_bytes, 0)
        stop_bytes = end_bytes if place is None else place
        self._note_damage(f"{segment.path.name} bytes {at_bytes} to {stop_bytes}")
        while at_bytes < stop_bytes:
            data = self._read(segment, at_bytes, min(stop_bytes - at_bytes, RUN_BYTES_MAX))
            if not data:
                return
            self._mirror.append([data], range(0))
            at_bytes += len(data)
        self._mirror.publish()

    def _leave_segment(self) -> None:
        assert self._segment is not None
        self._mirror.seal()
        self._segment.close()
        self._segment = None

    def _note_copied(self, run: RecordRun, has_bytes: bool) -> None:
        for entry in run.entries:
            if has_bytes or not isinstance(entry, SpooledDelivery):
                _hold(self._held, entry)
        self.records += len(run.sequences)
        self.copied_bytes += run.size_bytes

    def _note_reached(self, segment: SegmentFile) -> None:
        header = segment.header
        self._reached = DurableMark(header.number, header.generation, self._mirror.end_bytes)

    def _note_damage(self, problem: str) -> None:
        self.damaged += 1
        _LOG.error("the first spool has rotted there", problem=problem)


def _unanswered(entries: Iterable[Entry]) -> dict[str, str]:
    held: dict[str, str] = {}
    for entry in entries:
        _hold(held, entry)
    return held


def _hold(held: dict[str, str], entry: Entry) -> None:
    if isinstance(entry, SpooledDelivery):
        held[entry.delivery_id] = entry.content_sha256
        if len(held) > HELD_MAX:
            held.pop(next(iter(held)))
    elif isinstance(entry, Receipt):
        held.pop(entry.delivery_id or "", None)
