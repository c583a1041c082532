"""The forwarder's side: every durable record in order, the live end included, and its bytes.

Invariant: only what the durable mark covers is handed out, each record once, in the order of
acceptance. A record that has rotted is told (SpoolCorrupt), never skipped silently. Must not
write; releasing is release.py's part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_gateway.spool.body import ExternalBody, InlineBody, SpoolBody
from edge_gateway.spool.entry import Entry, RecordKind, SpooledDelivery, decode_entry
from edge_gateway.spool.errors import SpoolCorrupt, SpoolEntryGone
from edge_gateway.spool.filesystem import READ, FileSystem
from edge_gateway.spool.layout import (
    REMNANT_SUFFIX,
    GatewayIdentity,
    SpoolLayout,
    read_identity,
)
from edge_gateway.spool.location import (
    NO_SEGMENT,
    SPOOL_START,
    RecordLocation,
    SpoolPosition,
    SpoolRecord,
)
from edge_gateway.spool.mark import DurableMark, read_mark
from edge_gateway.spool.reading_around import ReadingAround
from edge_gateway.spool.remnant import read_remnant
from edge_gateway.spool.segment import BLOCK_BYTES, FoundRecord, SegmentFile


class SpoolReader:
    """Reads a spool that a receiver, in another process, may be writing. Used by one thread."""

    def __init__(self, directory: Path, *, fs: FileSystem | None = None) -> None:
        self._fs = fs or ReadingAround()
        self._layout = SpoolLayout(directory)
        self._position = SPOOL_START
        self._segment: SegmentFile | None = None
        self._mark_descriptor: int | None = None
        # Whether the last `poll` ended before its time: the next one tells of damage.
        self.is_before_damage = False

    @property
    def position(self) -> SpoolPosition:
        """Behind the last record that `poll` gave."""
        return self._position

    def identity(self) -> GatewayIdentity | None:
        """Whose spool this is; None before its first start. Raises SpoolCorrupt, SpoolMismatch."""
        return read_identity(self._fs, self._layout)

    def seek(self, position: SpoolPosition) -> None:
        """The next `poll` begins there; only positions that this class gave."""
        self._drop_segment()
        self._position = position

    def poll(self, records_max: int) -> list[SpoolRecord]:
        """The next durable records, empty when there is nothing new; never waits.

        Raises SpoolCorrupt when the next record has rotted; `skip_damaged` goes on behind it.
        """
        mark = self._read_mark()
        self.is_before_damage = False
        records: list[SpoolRecord] = []
        while mark is not None and len(records) < records_max:
            end_bytes = self._readable_end(mark)
            if self._segment is None or self._position.offset_bytes >= end_bytes:
                try:
                    if not self._advance(mark):
                        break
                except SpoolCorrupt:
                    self.is_before_damage = True
                    if not records:
                        raise
                    break  # first what is in hand; the next call tells of the segment
                continue
            found = self._segment.record_at(self._position.offset_bytes)
            if found is None:
                self.is_before_damage = True
                if records:
                    break
                raise SpoolCorrupt(f"reading {self._here()}: no valid record")
            following = SpoolPosition(self._position.segment_number, found.end_bytes)
            if found.head.kind is not RecordKind.CHECKPOINT:
                records.append(_record(found, self._position.segment_number, following))
            self._position = following
        return records

    def skip_damaged(self) -> SpoolPosition:
        """Moves to the next valid record, or to the end of what is durable; returns where.

        For use after SpoolCorrupt from `poll`, once it has been logged and counted.
        """
        mark = self._read_mark()
        if self._segment is None:
            # Not even its header can be read: nothing of this segment can be found by walking.
            self._position = SpoolPosition(self._position.segment_number + 1, BLOCK_BYTES)
        elif mark is not None:
            end_bytes = self._readable_end(mark)
            place = self._segment.search(self._position.offset_bytes + 8, end_bytes, 0)
            offset_bytes = end_bytes if place is None else place
            self._position = SpoolPosition(self._position.segment_number, offset_bytes)
        return self._position

    def segment_numbers(self) -> list[int]:
        """The segments that exist, ascending: the live one and the next empty one included."""
        return self._layout.segment_numbers(self._fs)

    def remnants(self) -> Iterator[SpoolRecord]:
        """The deliveries that were copied forward, in no particular order.

        One may still be in its segment too, when a crash came between copy and release: same
        delivery_id, same sequence.
        """
        for delivery_id in self.remnant_ids():
            yield self.remnant(delivery_id)

    def remnant_ids(self) -> list[str]:
        """The delivery_ids of what was copied forward."""
        names = self._fs.names(self._layout.objects)
        return [n.removesuffix(REMNANT_SUFFIX) for n in names if n.endswith(REMNANT_SUFFIX)]

    def remnant(self, delivery_id: str) -> SpoolRecord:
        """One delivery that was copied forward. Raises SpoolEntryGone, SpoolCorrupt."""
        found, meta, _ = read_remnant(self._fs, self._layout.remnant(delivery_id))
        location = RecordLocation(NO_SEGMENT, found.generation, 0, found.sequence)
        return SpoolRecord(decode_entry(found.kind, meta), location, SPOOL_START)

    def entry_at(self, location: RecordLocation) -> Entry:
        """The record that `poll` once gave with this location, wherever the mark stands now.

        The mark is not asked: it may be in the middle of being written, or old after a power
        loss, and what was durable once stays so. Raises SpoolEntryGone, SpoolCorrupt.
        """
        segment = _segment_of(self._fs, self._layout, location)
        try:
            found = _found_at(segment, location)
        finally:
            segment.close()
        return decode_entry(found.head.kind, found.meta)

    def open_body(self, delivery: SpooledDelivery, location: RecordLocation) -> SpoolBody:
        """The data set bytes of a delivery, for as many readings as it takes.

        Raises SpoolEntryGone when they were purged or their segment was recycled, SpoolCorrupt
        when what is there is not what was received.
        """
        if delivery.external:
            path = self._layout.object(delivery.delivery_id)
            return ExternalBody(self._fs, path, delivery.size_bytes, delivery.content_sha256)
        if location.segment_number == NO_SEGMENT:
            _, _, body = read_remnant(self._fs, self._layout.remnant(delivery.delivery_id))
            return InlineBody(body)
        _, body = read_record(self._fs, self._layout, location)
        return InlineBody(body)

    def close(self) -> None:
        """Lets go of the files."""
        self._drop_segment()
        if self._mark_descriptor is not None:
            self._fs.close(self._mark_descriptor)
            self._mark_descriptor = None

    def _read_mark(self) -> DurableMark | None:
        if self._mark_descriptor is None:
            try:
                self._mark_descriptor = self._fs.open(self._layout.mark, READ)
            except FileNotFoundError:
                return None
        return read_mark(self._fs, self._mark_descriptor)

    def _readable_end(self, mark: DurableMark) -> int:
        if self._segment is None:
            return 0
        if mark.segment_number == self._position.segment_number:
            return mark.end_bytes
        if mark.segment_number < self._position.segment_number:
            # An old mark after a power loss: the receiver's next start brings it up to date.
            return 0
        footer = self._segment.read_footer()
        return self._segment.capacity_bytes if footer is None else footer.end_offset_bytes

    def _advance(self, mark: DurableMark) -> bool:
        """Opens the segment of the position, or the next one that the mark has reached."""
        after = self._position.segment_number
        if self._segment is not None and mark.segment_number <= after:
            return False
        if self._segment is None:
            after -= 1
        numbers = self._layout.segment_numbers(self._fs)
        number = next((n for n in numbers if after < n <= mark.segment_number), None)
        if number is None:
            return False
        self._drop_segment()
        if number != self._position.segment_number:
            self._position = SpoolPosition(number, BLOCK_BYTES)
        self._segment = SegmentFile(self._fs, self._layout.segment(number))
        return True

    def _drop_segment(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _here(self) -> str:
        return f"segment {self._position.segment_number} at {self._position.offset_bytes}"


def _record(found: FoundRecord, number: int, following: SpoolPosition) -> SpoolRecord:
    head = found.head
    location = RecordLocation(number, head.generation, found.offset_bytes, head.sequence)
    return SpoolRecord(decode_entry(head.kind, found.meta), location, following)


def read_record(
    fs: FileSystem, layout: SpoolLayout, location: RecordLocation
) -> tuple[FoundRecord, bytes]:
    """The record at a location in a segment, wholly verified.

    Raises SpoolEntryGone when that life of the segment is over, SpoolCorrupt otherwise.
    """
    segment = _segment_of(fs, layout, location)
    try:
        found = _found_at(segment, location)
        body = segment.body_of(found)
    finally:
        segment.close()
    if body is None:
        raise SpoolCorrupt(f"reading {_place(location)}: the body is not the one that was written")
    return found, body


def _segment_of(fs: FileSystem, layout: SpoolLayout, location: RecordLocation) -> SegmentFile:
    try:
        segment = SegmentFile(fs, layout.segment(location.segment_number))
    except FileNotFoundError as error:
        raise SpoolEntryGone(f"reading {_place(location)}: the segment was recycled") from error
    if segment.header.generation != location.generation:
        segment.close()
        raise SpoolEntryGone(f"reading {_place(location)}: the segment was recycled")
    return segment


def _found_at(segment: SegmentFile, location: RecordLocation) -> FoundRecord:
    found = segment.record_at(location.offset_bytes)
    if found is None or found.head.sequence != location.sequence:
        raise SpoolCorrupt(
            f"reading {_place(location)}: the record is not the one that was written"
        )
    return found


def _place(location: RecordLocation) -> str:
    return f"segment {location.segment_number} at {location.offset_bytes}"
