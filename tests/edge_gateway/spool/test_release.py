"""Giving room back: recycling, copying forward, purging, and who may do it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_gateway.spool import (
    Spool,
    SpoolCorrupt,
    SpooledDelivery,
    SpoolEntryGone,
    SpoolError,
    SpoolLocked,
    SpoolReader,
    SpoolReleaser,
    spool_usage,
)
from edge_gateway.spool.filesystem import FileSystem
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.mark import DurableMark, write_mark
from edge_gateway.spool.segment import SegmentFile
from tests.edge_gateway.spool.workload import (
    SMALL_SEGMENTS,
    await_segment_ahead,
    data_set,
    deliveries_of,
    drain,
    store,
)


def test_released_segment_is_recycled_and_its_locations_are_gone(tmp_path: Path) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        for _ in range(30):
            store(spool, 6000)
        reader = SpoolReader(tmp_path)
        records = drain(reader)
        live = reader.position.segment_number
        await_segment_ahead(spool)
        assert reader.segment_numbers()[-1] > live
        before = spool_usage(tmp_path)
        with SpoolReleaser(tmp_path) as releaser:
            releaser.release_segment(1)
            releaser.release_segment(1)
        after = spool_usage(tmp_path)
        assert after.bytes == before.bytes - 64 * 1024
        assert after.free_segment_bytes == 64 * 1024
        first = records[0]
        assert isinstance(first.entry, SpooledDelivery)
        with pytest.raises(SpoolEntryGone):
            reader.open_body(first.entry, first.location)
        later = [store(spool, 6000).delivery_id for _ in range(30)]
        assert not SpoolLayout(tmp_path).free_segment(1).exists()
        assert deliveries_of(drain(reader)) == later
        fresh = SpoolReader(tmp_path)
        in_first = sum(r.location.segment_number == 1 for r in records)
        assert deliveries_of(drain(fresh)) == deliveries_of(records)[in_first:] + later
        fresh.close()
        reader.close()


def test_location_of_another_life_of_a_segment_is_gone(tmp_path: Path) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        delivery = store(spool, 100)
        reader = SpoolReader(tmp_path)
        location = reader.poll(1)[0].location
        with pytest.raises(SpoolEntryGone):
            reader.open_body(delivery, replace(location, generation=location.generation + 2))
        with pytest.raises(SpoolCorrupt):
            reader.open_body(delivery, replace(location, offset_bytes=location.offset_bytes + 8))
        with pytest.raises(SpoolCorrupt):
            reader.open_body(delivery, replace(location, sequence=location.sequence + 1))
        reader.close()


def test_live_and_unsealed_segments_are_never_released(tmp_path: Path) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        await_segment_ahead(spool)
        assert spool_usage(tmp_path).segments == 2
        store(spool, 100)
        with SpoolReleaser(tmp_path) as releaser:
            for number in (1, 2):
                with pytest.raises(SpoolError, match="may still be written"):
                    releaser.release_segment(number)
            releaser.release_segment(99)
        layout = SpoolLayout(tmp_path)
        # A mark that lies about an unsealed segment does not help either.
        fs = FileSystem()
        descriptor = fs.open(layout.mark, 2)
        segment = SegmentFile(fs, layout.segment(2))
        write_mark(fs, descriptor, DurableMark(2, segment.header.generation, 4096))
        with SpoolReleaser(tmp_path) as releaser, pytest.raises(SpoolError, match="not sealed"):
            releaser.release_segment(1)
        segment.close()
        fs.close(descriptor)


@pytest.mark.parametrize("size_bytes", [6000, 30_000])
def test_copied_delivery_outlives_its_segment_until_it_is_purged(
    tmp_path: Path, size_bytes: int
) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        delivery = store(spool, size_bytes)
        for _ in range(20):
            store(spool, 6000)
        reader = SpoolReader(tmp_path)
        old = reader.poll(1)[0].location
        with SpoolReleaser(tmp_path) as releaser:
            new = releaser.copy_forward(delivery, old)
            assert releaser.copy_forward(delivery, old) == new
            assert releaser.copy_forward(delivery, new) == new
            releaser.release_segment(1)
            assert new.sequence == old.sequence
            assert [r.entry for r in reader.remnants()] == [delivery]
            assert [r.location for r in reader.remnants()] == [new]
            with reader.open_body(delivery, new) as body:
                assert b"".join(body.chunks(999)) == data_set(delivery.delivery_id, size_bytes)
            releaser.purge(delivery.delivery_id)
            releaser.purge(delivery.delivery_id)
        with pytest.raises(SpoolEntryGone):
            reader.open_body(delivery, new)
        assert spool_usage(tmp_path).objects == 0
        reader.close()


def test_rotten_remnant_is_told(tmp_path: Path) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        delivery = store(spool, 100)
        reader = SpoolReader(tmp_path)
        with SpoolReleaser(tmp_path) as releaser:
            location = releaser.copy_forward(delivery, reader.poll(1)[0].location)
        path = SpoolLayout(tmp_path).remnant(delivery.delivery_id)
        whole = path.read_bytes()
        for offset in range(0, len(whole), 13):
            path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 4]) + whole[offset + 1 :])
            if offset < len(whole) - 8:
                with pytest.raises(SpoolCorrupt):
                    reader.open_body(delivery, location)
        reader.close()


def test_free_segments_beyond_their_limit_are_given_back_to_the_disk(tmp_path: Path) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        for _ in range(60):
            store(spool, 6000)
        reader = SpoolReader(tmp_path)
        drain(reader)
        live = reader.position.segment_number
        await_segment_ahead(spool)
        assert reader.segment_numbers()[-1] > live
        with SpoolReleaser(tmp_path) as releaser:
            for number in (1, 2, 3, 4):
                releaser.release_segment(number, free_max=2)
        assert spool_usage(tmp_path).free_segment_bytes == 2 * 64 * 1024
        assert reader.segment_numbers()[0] == 5
        reader.close()


def test_two_forwarders_exclude_each_other(tmp_path: Path) -> None:
    with (
        Spool.open(tmp_path, "north", SMALL_SEGMENTS),
        SpoolReleaser(tmp_path),
        pytest.raises(SpoolLocked),
    ):
        SpoolReleaser(tmp_path)


def test_crash_in_copy_forward_leaves_nothing_after_the_next_start(tmp_path: Path) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS):
        left = tmp_path / "objects" / "half.rec.tmp"
        left.write_bytes(b"half")
        SpoolReleaser(tmp_path).close()
        assert not left.exists()
