"""The forwarder's side: tailing, damage, copying forward, purging, recycling."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from pathlib import Path

import pytest

from edge_gateway.spool import (
    SPOOL_START,
    RecordLocation,
    Spool,
    SpoolCorrupt,
    SpooledDelivery,
    SpoolReader,
    SpoolRecord,
)
from edge_gateway.spool.layout import SpoolLayout
from tests.edge_gateway.spool.seams import FailingFileSystem
from tests.edge_gateway.spool.workload import (
    SMALL_SEGMENTS,
    contents,
    data_set,
    deliveries_of,
    drain,
    flip,
    store,
)


def test_reader_of_a_spool_that_never_started_finds_nothing(tmp_path: Path) -> None:
    reader = SpoolReader(tmp_path)
    assert reader.poll(10) == []
    assert reader.identity() is None
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        store(spool, 10)
        assert len(reader.poll(10)) == 1
    reader.close()


def test_reader_tails_the_live_log_over_rollover_and_restart(tmp_path: Path) -> None:
    reader = SpoolReader(tmp_path)
    sent, seen = [], []
    for _ in range(3):
        with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
            for size_bytes in (10, 6000, 6001, 30_000, 6002, 7000, 7001, 7002, 7003, 7004):
                sent.append(store(spool, size_bytes).delivery_id)
                seen += deliveries_of(reader.poll(50))
                assert seen == sent
    assert drain(reader) == []
    reader.close()


def test_reader_goes_on_from_a_remembered_position(tmp_path: Path) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        sent = [store(spool, 6000).delivery_id for _ in range(30)]
        for split in range(0, 30, 7):
            first, second = SpoolReader(tmp_path), SpoolReader(tmp_path)
            records = first.poll(split)
            second.seek(records[-1].following if records else SPOOL_START)
            assert deliveries_of(records + drain(second)) == sent
            first.close()
            second.close()


def test_record_that_is_not_flushed_is_not_there_yet(tmp_path: Path) -> None:
    fs = FailingFileSystem()
    reader = SpoolReader(tmp_path)
    seen_before_flush: list[SpoolRecord] = []
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS, fs=fs) as spool:
        first = store(spool, 10)

        def look(operation: str, path: Path) -> None:
            if operation == "flush" and path.parent.name == "segments":
                seen_before_flush.extend(reader.poll(10))

        assert deliveries_of(reader.poll(10)) == [first.delivery_id]
        fs.rule = look
        second = store(spool, 10)
        assert seen_before_flush == []
        assert deliveries_of(reader.poll(10)) == [second.delivery_id]
    reader.close()


def test_old_mark_after_a_power_loss_only_delays(tmp_path: Path) -> None:
    reader = SpoolReader(tmp_path)
    layout = SpoolLayout(tmp_path)
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        store(spool, 10)
        old = layout.mark.read_bytes()
        sent = [store(spool, 6000).delivery_id for _ in range(20)]
        drain(reader)
    layout.mark.write_bytes(old)
    assert drain(reader) == []
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        last = store(spool, 10)
        assert deliveries_of(drain(reader)) == [last.delivery_id]
        assert sent[-1] in contents(tmp_path).deliveries
    reader.close()


@pytest.mark.parametrize("mark", ["torn", "old", "gone"])
def test_a_known_record_is_found_whatever_the_mark_says_now(tmp_path: Path, mark: str) -> None:
    layout = SpoolLayout(tmp_path)
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        store(spool, 10)
        old = layout.mark.read_bytes()
        for _ in range(20):
            store(spool, 6000)
        records = [record for record in drain(SpoolReader(tmp_path))]
    match mark:
        case "torn":
            layout.mark.write_bytes(old[:20] + layout.mark.read_bytes()[20:])
        case "old":
            layout.mark.write_bytes(old)
        case _:
            layout.mark.unlink()
    reader = SpoolReader(tmp_path)
    assert drain(SpoolReader(tmp_path)) != records
    assert [reader.entry_at(record.location) for record in records] == [r.entry for r in records]
    reader.close()


def test_segment_with_a_rotten_header_is_told_once_and_the_next_are_read(tmp_path: Path) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        for _ in range(40):
            store(spool, 6000)
        reader = SpoolReader(tmp_path)
        records = drain(reader)
        assert reader.position.segment_number > 3
        flip(tmp_path, 20, number=2)
        reader.seek(SPOOL_START)
        found, problems = [], 0
        while problems < 10:
            try:
                if not (some := reader.poll(7)):
                    break
                found += some
            except SpoolCorrupt:
                problems += 1
                reader.skip_damaged()
        assert problems == 1
        assert found == [r for r in records if r.location.segment_number != 2]
        reader.close()


def test_bad_sector_costs_only_what_lies_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        sent = [store(spool, 6000) for _ in range(8)]
        records = drain(SpoolReader(tmp_path))
        bad_page = records[3].location.offset_bytes // 4096 * 4096
        read = os.pread

        def pread(descriptor: int, length: int, offset: int) -> bytes:
            is_segment = os.fstat(descriptor).st_size == SMALL_SEGMENTS.segment_bytes
            if is_segment and offset < bad_page + 4096 and offset + length > bad_page:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return read(descriptor, length, offset)

        monkeypatch.setattr(os, "pread", pread)
        reader = SpoolReader(tmp_path)
        found: list[SpoolRecord] = []
        with pytest.raises(SpoolCorrupt):
            while True:
                found += reader.poll(10)
        reader.skip_damaged()
        found += drain(reader)
        assert set(deliveries_of(records)) - set(deliveries_of(found)) == {sent[3].delivery_id}
        with pytest.raises(SpoolCorrupt):
            reader.open_body(sent[2], records[2].location)
        with reader.open_body(sent[6], records[6].location) as body:
            body.verify()
        reader.close()


def test_rotten_record_is_told_and_the_next_ones_are_read(tmp_path: Path) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        sent = [store(spool, 900).delivery_id for _ in range(5)]
        reader = SpoolReader(tmp_path)
        records = reader.poll(10)
        flip(tmp_path, records[2].location.offset_bytes + 60)
        reader.seek(SPOOL_START)
        assert deliveries_of(reader.poll(10)) == sent[:2]
        with pytest.raises(SpoolCorrupt):
            reader.poll(10)
        reader.skip_damaged()
        assert deliveries_of(reader.poll(10)) == sent[3:]
        reader.close()


def test_rotten_body_is_read_as_record_and_never_handed_out(tmp_path: Path) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        inline, external = store(spool, 900), store(spool, 50_000)
        reader = SpoolReader(tmp_path)
        records = {
            r.entry.delivery_id: r for r in reader.poll(10) if isinstance(r.entry, SpooledDelivery)
        }
        flip(tmp_path, records[inline.delivery_id].following.offset_bytes - 16)
        path = SpoolLayout(tmp_path).object(external.delivery_id)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        with pytest.raises(SpoolCorrupt):
            reader.open_body(inline, records[inline.delivery_id].location)
        with reader.open_body(external, records[external.delivery_id].location) as body:
            taken = 0
            with pytest.raises(SpoolCorrupt):
                for chunk in body.chunks(1000):
                    taken += len(chunk)
            assert taken < external.size_bytes
            with pytest.raises(SpoolCorrupt):
                body.verify()
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(SpoolCorrupt, match="bytes, not"):
            reader.open_body(external, records[external.delivery_id].location)
        reader.close()


@pytest.mark.parametrize("size_bytes", [5000, 50_000])
def test_body_is_read_whole_in_parts_and_as_a_stream(tmp_path: Path, size_bytes: int) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        delivery = store(spool, size_bytes)
        reader = SpoolReader(tmp_path)
        location = reader.poll(1)[0].location
        expected = data_set(delivery.delivery_id, size_bytes)
        with reader.open_body(delivery, location) as body:
            assert body.size_bytes == size_bytes
            assert b"".join(body.chunks(777)) == expected
            assert body.read_at(100, 50) == expected[100:150]
            assert body.read_at(size_bytes - 5, 50) == expected[-5:]
            stream = body.stream()
            assert stream.read(10) == expected[:10]
            stream.seek(-7, io.SEEK_END)
            assert stream.read() == expected[-7:]
            stream.seek(0)
            assert hashlib.sha256(stream.read()).hexdigest() == delivery.content_sha256
        reader.close()


def test_location_is_plain_numbers() -> None:
    location = RecordLocation(3, 5, 4096, 7)
    assert RecordLocation(**{k: int(getattr(location, k)) for k in location.__slots__}) == location
