"""What opening a spool keeps, drops and closes after a crash."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edge_gateway.spool import Ending, Spool, SpooledDelivery, SpoolLimits
from edge_gateway.spool.filesystem import FileSystem
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.mark import read_mark
from edge_gateway.spool.segment import SegmentFile
from tests.edge_gateway.spool.workload import (
    SMALL_SEGMENTS,
    contents,
    copy_as_killed,
    data_set,
    facts,
    opened,
    receipt,
    store,
)

RECOVERY_RECORDS = 10_000
RECOVERY_CPU_S_MAX = 2.0


def test_open_association_is_closed_and_unanswered_deliveries_get_receipts(tmp_path: Path) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        spool.association_opened(opened("kept-open"))
        spool.association_opened(opened("released"))
        answered = store(spool, 100, "kept-open")
        spool.append_receipt(receipt(answered))
        done = store(spool, 100, "released")
        spool.append_receipt(receipt(done))
        spool.association_closed("released", Ending.RELEASED)
        unanswered = store(spool, 100, "kept-open")
        copy = copy_as_killed(spool, tmp_path / "spool", tmp_path / "copy")
    with Spool.open(copy, "north", SMALL_SEGMENTS) as spool:
        assert spool.recovery.associations_lost == 1
        assert spool.recovery.receipts_added == 1
        found = contents(copy)
    endings = {c.association_id: (c.ending, c.status_totals) for c in found.closed}
    assert endings == {
        "released": (Ending.RELEASED, ((0x0000, 1),)),
        "kept-open": (Ending.GATEWAY_LOST, ((0x0000, 2),)),
    }
    assert [r.status for r in found.receipts if r.delivery_id == unanswered.delivery_id] == [0]
    with Spool.open(copy, "north", SMALL_SEGMENTS) as spool:
        assert spool.recovery.associations_lost == 0


def test_association_open_since_many_segments_is_closed_with_all_its_totals(
    tmp_path: Path,
) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        spool.association_opened(opened())
        for _ in range(40):
            spool.append_receipt(receipt(store(spool, 6000)))
        store(spool, 10)
        copy = copy_as_killed(spool, tmp_path / "spool", tmp_path / "copy")
    with Spool.open(copy, "north", SMALL_SEGMENTS) as spool:
        assert spool.recovery.records < 40
        found = contents(copy)
    assert [c.status_totals for c in found.closed] == [((0x0000, 41),)]


def test_unfinished_objects_are_deleted_and_finished_ones_kept(tmp_path: Path) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        kept = store(spool, 50_000)
        sink = spool.begin(facts())
        sink.write(bytes(50_000))
        copy = copy_as_killed(spool, tmp_path / "spool", tmp_path / "copy")
        sink.abort()
    # The crash that came between the flush of the record and the rename of its object.
    objects = copy / "objects"
    (objects / f"{kept.delivery_id}.ds").rename(objects / f"{kept.delivery_id}.ds.part")
    with Spool.open(copy, "north", SMALL_SEGMENTS) as spool:
        assert spool.recovery.objects_deleted == 1
    assert [path.name for path in objects.iterdir()] == [f"{kept.delivery_id}.ds"]
    assert not contents(copy).gone


def test_recycled_segment_does_not_give_back_its_old_records(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    with Spool.open(directory, "north", SMALL_SEGMENTS) as spool:
        for _ in range(20):
            store(spool, 6000)
    layout = SpoolLayout(directory)
    numbers = layout.segment_numbers(FileSystem())
    shutil.rmtree(layout.objects)
    # Everything was purged: the old segments, full of valid records, lie ready for recycling.
    for number in numbers[:-1]:
        layout.segment(number).rename(layout.free_segment(number))
    layout.segment(numbers[-1]).unlink()
    layout.mark.unlink()
    old = layout.free_segment(numbers[0]).read_bytes()
    with Spool.open(directory, "north", SMALL_SEGMENTS) as spool:
        sent = store(spool, 100)
    live = layout.segment(1).read_bytes()
    assert live[8192:] == old[8192:], "the old records are still behind the new tail"
    layout.mark.unlink()
    with Spool.open(directory, "north", SMALL_SEGMENTS):
        assert list(contents(directory).deliveries) == [sent.delivery_id]


def test_ten_thousand_entries_recover_within_two_seconds(tmp_path: Path) -> None:
    limits = SpoolLimits(segment_bytes=256 << 20, free_bytes_min=0, spool_bytes_max=4 << 30)
    with Spool.open(tmp_path / "spool", "north", limits) as spool:

        def associate(name: str) -> None:
            for _ in range(RECOVERY_RECORDS // 40):
                spool.append_receipt(receipt(store(spool, 2000, name)))

        threads = [threading.Thread(target=associate, args=(f"a{n}",)) for n in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert spool.statistics().deliveries == RECOVERY_RECORDS
    # Recovery runs in this thread; its own time does not depend on who else uses the machine.
    started_s = time.thread_time()
    with Spool.open(tmp_path / "spool", "north", limits) as spool:
        used_s = time.thread_time() - started_s
        report = spool.recovery
    print(f"{report.records} records recovered in {report.elapsed_ms} ms, {used_s:.2f} s of CPU")
    assert report.records > 2 * RECOVERY_RECORDS
    assert used_s < RECOVERY_CPU_S_MAX


def test_segment_with_a_rotten_header_is_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    with Spool.open(directory, "north", SMALL_SEGMENTS) as spool:
        sent = [store(spool, 6000) for _ in range(30)]
    first = SpoolLayout(directory).segment(1)
    first.write_bytes(b"?" + first.read_bytes()[1:])
    with Spool.open(directory, "north", SMALL_SEGMENTS) as spool:
        assert len(spool.recovery.damaged) == 1
        sent.append(store(spool, 100))
        found = contents(directory)
    assert (directory / "damaged" / first.name).exists()
    assert sent[-1].delivery_id in found.deliveries
    assert 10 < len(found.deliveries) < len(sent)


def test_unfinished_object_that_a_rotten_record_may_name_is_set_aside(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    with Spool.open(directory, "north", SMALL_SEGMENTS) as spool:
        large = store(spool, 50_000)
    layout = SpoolLayout(directory)
    # As after a power loss that took the renaming, and with the segment's header gone as well.
    layout.object(large.delivery_id).rename(layout.unfinished_object(large.delivery_id))
    segment = layout.segment(1)
    segment.write_bytes(b"?" + segment.read_bytes()[1:])
    with Spool.open(directory, "north", SMALL_SEGMENTS) as spool:
        assert spool.recovery.objects_deleted == 0
    aside = layout.damaged / layout.unfinished_object(large.delivery_id).name
    assert aside.read_bytes() == data_set(large.delivery_id, 50_000)


class TestTornTail:
    """Two deliveries that stay, then one that every kind of damage hits at every byte."""

    def test_flip_of_a_flushed_byte_is_found_and_never_sent_as_good(self, quick_path: Path) -> None:
        case = _Case(quick_path)
        for offset in range(case.start, case.end):
            damaged = bytearray(case.whole)
            damaged[offset] ^= 0x10
            case.lay(bytes(damaged))
            with Spool.open(case.directory, "north", SMALL_SEGMENTS) as spool:
                report = spool.recovery
                later = store(spool, 50)
            found = contents(case.directory)
            told = bool(report.damaged) or found.damaged > 0
            # Padding and reserved bytes carry nothing: there nothing may be missing.
            if not told:
                assert case.last.delivery_id in found.deliveries, offset
                assert not found.rotten, offset
            if case.last.delivery_id in found.deliveries:
                assert found.deliveries[case.last.delivery_id] == case.last, offset
            assert {*case.kept, later.delivery_id} <= set(found.deliveries), offset
            assert set(found.deliveries) <= {
                *case.kept,
                case.last.delivery_id,
                later.delivery_id,
            }
            assert told or offset >= case.end_without_padding, offset

    def test_tail_cut_at_every_byte_is_dropped_as_a_whole(self, quick_path: Path) -> None:
        case = _Case(quick_path)
        for offset in range(case.start, case.end_without_padding):
            tail = bytes(len(case.whole) - offset)
            case.lay(case.whole[:offset] + tail)
            # What was torn was not flushed, so no mark told of it.
            case.layout.mark.unlink()
            with Spool.open(case.directory, "north", SMALL_SEGMENTS) as spool:
                assert not spool.recovery.damaged
                later = store(spool, 50)
            found = contents(case.directory)
            assert set(found.deliveries) == {*case.kept, later.delivery_id}, offset
            assert not found.rotten | found.gone


class _Case:
    """A spool of three deliveries in one segment, and where the last one lies."""

    def __init__(self, path: Path) -> None:
        self.directory = path / "spool"
        self.layout = SpoolLayout(self.directory)
        limits = replace(SMALL_SEGMENTS, receipt_delay_ms=60_000)
        with Spool.open(self.directory, "north", limits) as spool:
            self.kept = {store(spool, 60).delivery_id, store(spool, 60).delivery_id}
            self.start = self._mark_end()
            self.last: SpooledDelivery = store(spool, 61)
            self.end = self._mark_end()
        self.whole = self.layout.segment(1).read_bytes()
        self._mark = self.layout.mark.read_bytes()
        self.end_without_padding = self._end_without_padding()

    def lay(self, segment: bytes) -> None:
        """The directory as it was, with these bytes as the live segment."""
        self.layout.segment(1).write_bytes(segment)
        self.layout.mark.write_bytes(self._mark)

    def _mark_end(self) -> int:
        fs = FileSystem()
        descriptor = fs.open(self.layout.mark, 0)
        try:
            mark = read_mark(fs, descriptor)
        finally:
            fs.close(descriptor)
        assert mark is not None
        return mark.end_bytes

    def _end_without_padding(self) -> int:
        segment = SegmentFile(FileSystem(), self.layout.segment(1))
        try:
            found = segment.record_at(self.start)
        finally:
            segment.close()
        assert found is not None
        assert found.end_bytes == self.end
        return self.start + found.head.body_offset_bytes + found.head.body_bytes


def test_the_last_delivery_is_there_when_nothing_is_damaged(quick_path: Path) -> None:
    case = _Case(quick_path)
    with Spool.open(case.directory, "north", SMALL_SEGMENTS) as spool:
        assert not spool.recovery.damaged
    assert set(contents(case.directory).deliveries) == {*case.kept, case.last.delivery_id}


@pytest.mark.parametrize("crashes", [3])
def test_recovery_that_is_itself_cut_off_gives_the_same(tmp_path: Path, crashes: int) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        spool.association_opened(opened())
        sent = {store(spool, 100).delivery_id for _ in range(5)}
        copy = copy_as_killed(spool, tmp_path / "spool", tmp_path / "copy0")
    for turn in range(crashes):
        with Spool.open(copy, "north", SMALL_SEGMENTS) as spool:
            spool.association_opened(opened(f"turn-{turn}"))
            sent.add(store(spool, 100, f"turn-{turn}").delivery_id)
            copy = copy_as_killed(spool, copy, tmp_path / f"copy{turn + 1}")
    Spool.open(copy, "north", SMALL_SEGMENTS).close()
    found = contents(copy)
    assert set(found.deliveries) == sent
    assert {r.delivery_id for r in found.receipts} == sent
    assert len(found.receipts) == len(sent)
