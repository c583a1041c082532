"""Opening the log after whatever happened: where it ends, what is still open, what is an orphan.

Invariant: every record that was flushed is kept, nothing that is not wholly valid is; running it
again after a crash in the middle gives the same. It reads the one segment that was last written
(and any that was left unsealed), whatever the spool holds. Must not acknowledge or publish.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from edge_gateway.spool.entry import Entry, RecordKind, SpooledDelivery, decode_entry
from edge_gateway.spool.errors import SpoolCorrupt
from edge_gateway.spool.filesystem import WRITE, FileSystem
from edge_gateway.spool.layout import (
    OBJECT_SUFFIX,
    TEMPORARY_SUFFIX,
    UNFINISHED_SUFFIX,
    SpoolLayout,
)
from edge_gateway.spool.ledger import Ledger
from edge_gateway.spool.mark import DurableMark, read_mark
from edge_gateway.spool.segment import FoundRecord, SegmentFile, SegmentScan
from edge_gateway.spool.supply import LaidSegment
from edge_gateway.spool.tail import SegmentTail


@dataclass(slots=True)
class Recovered:
    """What the log goes on from. `tail` is None when the next empty segment is to be live."""

    ledger: Ledger = field(default_factory=Ledger)
    tail: SegmentTail | None = None
    empty: list[LaidSegment] = field(default_factory=list)
    last_sequence: int = 0
    last_number: int = 0
    records: int = 0
    objects_deleted: int = 0
    damaged: list[str] = field(default_factory=list)
    external: set[str] = field(default_factory=set)


def recover(
    fs: FileSystem, layout: SpoolLayout, segment_bytes: int, mark_descriptor: int
) -> Recovered:
    """Reads the end of the log, seals what is to be sealed, tidies objects/ and free/.

    Raises OSError when the disk does not let it.
    """
    recovered = Recovered()
    mark = read_mark(fs, mark_descriptor)
    segments = _open_segments(fs, layout, recovered)
    # A start that found no room may have put aside the last one, and laid none out: a number that
    # had records once is never given again, as the forwarder may stand at a place in it.
    marked = mark.segment_number if mark else 0
    recovered.last_number = max(recovered.last_number, marked, *layout.damaged_numbers(fs))
    older: list[SegmentTail] = []
    try:
        written = _find_written(fs, segments, mark, recovered)
        _settle_empty(fs, segments, written, segment_bytes, recovered)
        older.extend(_scan_older(fs, segments[: max(written, 0)], mark, recovered))
        _tidy_objects(fs, layout, recovered)
        _seal(older)
    finally:
        for segment in segments:
            segment.close()
        for tail in older:
            tail.close()
    _tidy_free(fs, layout)
    return recovered


def _open_segments(fs: FileSystem, layout: SpoolLayout, recovered: Recovered) -> list[SegmentFile]:
    segments = []
    for number in layout.segment_numbers(fs):
        recovered.last_number = number
        path = layout.segment(number)
        try:
            segments.append(SegmentFile(fs, path))
        except SpoolCorrupt as error:
            # Set aside, not deleted: a person may still find records in it. Refusing to start
            # would turn away every image because one block of one segment has rotted.
            fs.make_directory(layout.damaged)
            fs.flush_directory(layout.directory)
            fs.rename(path, layout.damaged / path.name)
            fs.flush_directory(layout.damaged)
            fs.flush_directory(layout.segments)
            recovered.damaged.append(str(error))
    return segments


def _find_written(
    fs: FileSystem, segments: list[SegmentFile], mark: DurableMark | None, recovered: Recovered
) -> int:
    """The index of the last segment with records (-1: none); its state is in `recovered`."""
    for index in range(len(segments) - 1, -1, -1):
        segment = segments[index]
        scan = _scan(fs, segment, mark, recovered)
        if not scan.records and not scan.damaged:
            continue
        recovered.last_sequence = scan.last_sequence
        if segment.footer is None:
            recovered.tail = _writable_tail(fs, segment, scan)
        return index
    return -1


def _scan(
    fs: FileSystem, segment: SegmentFile, mark: DurableMark | None, recovered: Recovered
) -> SegmentScan:
    # A flush that failed may have left pages in memory that are marked clean and not on the
    # disk; what is taken over here must be what the disk says.
    fs.flush(segment.descriptor)
    fs.forget_cached(segment.descriptor)
    scan = SegmentScan(segment, _trusted_end(segment, mark))
    while (item := scan.next_record()) is not None:
        _take_in(*item, recovered)
    recovered.damaged += scan.damaged
    return scan


def _trusted_end(segment: SegmentFile, mark: DurableMark | None) -> int:
    if segment.footer is not None:
        return segment.footer.end_offset_bytes
    header = segment.header
    if mark and (mark.segment_number, mark.generation) == (header.number, header.generation):
        return mark.end_bytes
    return 0


def _take_in(record: FoundRecord, body: bytes, recovered: Recovered) -> None:
    recovered.records += 1
    if record.head.kind is RecordKind.CHECKPOINT:
        recovered.ledger.load(body)
        return
    entry: Entry = decode_entry(record.head.kind, record.meta)
    recovered.ledger.apply(entry)
    if isinstance(entry, SpooledDelivery) and entry.external:
        recovered.external.add(entry.delivery_id)


def _writable_tail(fs: FileSystem, segment: SegmentFile, scan: SegmentScan) -> SegmentTail:
    tail = SegmentTail(fs, fs.open(segment.path, WRITE), segment.header)
    tail.resume(scan)
    return tail


def _settle_empty(
    fs: FileSystem,
    segments: list[SegmentFile],
    written: int,
    segment_bytes: int,
    recovered: Recovered,
) -> None:
    """Segments behind the last written one are used next, unless the setting has changed."""
    for segment in segments[written + 1 :]:
        if segment.header.segment_bytes == segment_bytes:
            descriptor = fs.open(segment.path, WRITE)
            recovered.empty.append(LaidSegment(descriptor, segment.header))
        else:
            fs.unlink(segment.path)


def _scan_older(
    fs: FileSystem, segments: list[SegmentFile], mark: DurableMark | None, recovered: Recovered
) -> Iterator[SegmentTail]:
    """A segment is sealed before the next one is written, so this finds work only after damage."""
    for segment in segments:
        if segment.footer is not None:
            continue
        aside = Recovered()
        scan = _scan(fs, segment, mark, aside)
        recovered.external |= aside.external
        recovered.damaged += [*aside.damaged, f"{segment.path.name} had no footer"]
        yield _writable_tail(fs, segment, scan)


def _seal(tails: list[SegmentTail]) -> None:
    for tail in tails:
        tail.seal()


def _tidy_objects(fs: FileSystem, layout: SpoolLayout, recovered: Recovered) -> None:
    """A data set that a record names gets its final name; one that none names was never told.

    Where records have rotted, one of them may have named it: then it is set aside, not deleted.
    """
    for name in fs.names(layout.objects):
        if not name.endswith(UNFINISHED_SUFFIX):
            continue
        delivery_id = name.removesuffix(UNFINISHED_SUFFIX)
        if delivery_id in recovered.external:
            fs.rename(layout.objects / name, layout.objects / f"{delivery_id}{OBJECT_SUFFIX}")
        elif recovered.damaged:
            fs.make_directory(layout.damaged)
            fs.rename(layout.objects / name, layout.damaged / name)
        else:
            fs.unlink(layout.objects / name)
            recovered.objects_deleted += 1
    # Changed or not: a killed process may have given names that it never flushed, and once the
    # segment with their record is sealed nobody finds out which of the unfinished they were.
    fs.flush_directory(layout.objects)


def _tidy_free(fs: FileSystem, layout: SpoolLayout) -> None:
    for name in fs.names(layout.free):
        if name.endswith(TEMPORARY_SUFFIX):
            fs.unlink(layout.free / name)
