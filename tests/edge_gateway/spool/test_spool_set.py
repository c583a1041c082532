"""Several spools of one gateway: whose they are, what they occupy together, read as one."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_gateway.spool import (
    FileSystem,
    Spool,
    SpooledDelivery,
    SpoolEntryGone,
    SpoolLocked,
    SpoolMismatch,
    SpoolRecord,
    SpoolSet,
    spool_usage,
)
from edge_gateway.spool.family import prepare_directories, require_room, worker_directory
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.spool_set import first_number
from tests.edge_gateway.spool.workload import (
    SMALL_SEGMENTS,
    await_segment_ahead,
    data_set,
    eventually,
    store,
)


def prepare(directory: Path, workers: int) -> str:
    now = datetime.now(UTC)
    return prepare_directories(FileSystem(), directory, "north", workers, now).gateway_id


def open_worker(directory: Path, worker: int, limits: object = SMALL_SEGMENTS) -> Spool:
    return Spool.open(
        worker_directory(directory, worker),
        "north",
        limits,  # type: ignore[arg-type]
        gateway_directory=directory,
    )


def followed(spools: SpoolSet, worker: int) -> list[SpoolRecord]:
    reader = spools.follower(worker)
    found = reader.poll(500)
    reader.close()
    return found


def body_of(spools: SpoolSet, record: SpoolRecord) -> bytes:
    assert isinstance(record.entry, SpooledDelivery)
    with spools.open_body(record.entry, record.location) as body:
        return b"".join(bytes(chunk) for chunk in body.chunks(4096))


def test_all_directories_carry_one_identity_and_each_is_held_by_one(tmp_path: Path) -> None:
    gateway_id = prepare(tmp_path, 2)
    with open_worker(tmp_path, 1) as first, open_worker(tmp_path, 2) as second:
        assert first.identity.gateway_id == second.identity.gateway_id == gateway_id
        with pytest.raises(SpoolLocked):
            open_worker(tmp_path, 2)
    assert prepare(tmp_path, 3) == gateway_id


def test_a_directory_of_another_gateway_is_refused_by_both_processes(tmp_path: Path) -> None:
    prepare(tmp_path / "north", 1)
    prepare(tmp_path / "south", 1)
    foreign = worker_directory(tmp_path / "north", 2)
    foreign.parent.mkdir()
    (tmp_path / "south").rename(foreign)
    with pytest.raises(SpoolMismatch, match="another gateway"):
        prepare(tmp_path / "north", 2)
    with pytest.raises(SpoolMismatch, match="another gateway"):
        SpoolSet(tmp_path / "north")


def test_each_location_is_read_from_its_own_directory(tmp_path: Path) -> None:
    prepare(tmp_path, 3)
    with ExitStack() as held:
        for worker in (1, 2, 3):
            spool = held.enter_context(open_worker(tmp_path, worker))
            for _ in range(3):
                store(spool, 900 * worker)
        spools = held.enter_context(SpoolSet(tmp_path, workers=3))
        for worker in (1, 2, 3):
            records = [r for r in followed(spools, worker) if isinstance(r.entry, SpooledDelivery)]
            assert len(records) == 3
            for record in records:
                assert record.location.segment_number == first_number(worker) + 1
                assert isinstance(record.entry, SpooledDelivery)
                assert spools.entry_at(record.location) == record.entry
                expected = data_set(record.entry.delivery_id, 900 * worker)
                assert body_of(spools, record) == expected
        # A reader goes on where another one stood.
        reader = spools.follower(3)
        middle = reader.poll(2)[-1].following
        reader.seek(middle)
        assert reader.position == middle
        assert reader.poll(500)[-1].following == followed(spools, 3)[-1].following


def test_a_directory_that_comes_later_is_seen_and_one_that_is_gone_is_told(tmp_path: Path) -> None:
    prepare(tmp_path, 1)
    with SpoolSet(tmp_path) as spools:
        assert (spools.workers, spools.look()) == ([1], [])
        # Not whole yet: whose it is stands nowhere.
        worker_directory(tmp_path, 2).mkdir(parents=True)
        assert spools.look() == []
        prepare(tmp_path, 2)
        assert (spools.look(), spools.look()) == ([2], [])
        with open_worker(tmp_path, 2) as spool:
            store(spool, 900)
        record = followed(spools, 2)[-1]
        gone = replace(record.location, segment_number=first_number(7) + 1)
        with pytest.raises(SpoolEntryGone, match="worker 7"):
            spools.entry_at(gone)


def test_what_is_released_copied_forward_and_purged_stays_in_its_directory(tmp_path: Path) -> None:
    prepare(tmp_path, 2)
    with SpoolSet(tmp_path, workers=1) as spools:
        for worker in (1, 2):
            with open_worker(tmp_path, worker) as spool:
                for _ in range(30):
                    store(spool, 6000)
                await_segment_ahead(spool)
            records = [r for r in followed(spools, worker) if isinstance(r.entry, SpooledDelivery)]
            first, second = records[0], records[1]
            assert isinstance(first.entry, SpooledDelivery)
            moved = replace(first, location=spools.copy_forward(first.entry, first.location))
            number = first_number(worker) + 1
            spools.release_segment(number)
            assert number not in spools.segment_numbers()
            assert body_of(spools, moved) == data_set(first.entry.delivery_id, 6000)
            with pytest.raises(SpoolEntryGone):
                body_of(spools, second)
            assert spools.delivery_ids_of_files() == [first.entry.delivery_id]
            spools.purge(first.entry.delivery_id)
            assert spools.delivery_ids_of_files() == []
            # Kept for recycling where somebody writes; the count says that worker 2 is gone.
            layout = SpoolLayout(worker_directory(tmp_path, worker))
            assert layout.free_segment(1).exists() == (worker == 1)


def test_watermarks_count_all_directories(tmp_path: Path) -> None:
    prepare(tmp_path, 2)
    limit = 10 * 64 * 1024
    limits = replace(SMALL_SEGMENTS, spool_bytes_max=limit)
    with open_worker(tmp_path, 1, limits) as first, open_worker(tmp_path, 2, limits) as second:
        assert first.admission().accepting and second.admission().accepting
        while spool_usage(tmp_path).bytes < limit:
            store(first, 6000)
        eventually(lambda: not second.admission().accepting, "the other one's bytes are counted")
        assert "spool full" in second.admission().reason
    with pytest.raises(SpoolMismatch, match="lower workers"):
        require_room(limit, limits.segment_bytes, 3)
