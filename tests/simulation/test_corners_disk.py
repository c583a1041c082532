"""Corners of a disk that has no room or refuses, and of powers lost at the wrong moment.

Invariant: every test ends healed and drained, with all invariants checked, unless it is about what
nobody can heal.
"""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from contracts.events import RequestKind
from edge_gateway.spool.entry import RecordKind
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.record import MAGIC
from tests.simulation.corner_steps import mark_of, room_in_segment, world
from tests.simulation.limits import HOLD_S, LIMITS, SEGMENT_BYTES
from tests.simulation.world import World

FOOTER = b"HilumEnd"
CHECKPOINT = MAGIC + bytes((RecordKind.CHECKPOINT, 0))
SEEDS = range(12)


__all__ = ["world"]


def _fill_segment(world: World, left_bytes: int) -> None:
    """Sends until less than so much is left in the live segment."""
    while room_in_segment(world) > left_bytes:
        assert world.send_study(1, [700])


# -- no room


def test_a_footer_that_finds_no_room_is_written_later(world: World) -> None:
    receiving = world.gateway.receiving
    assert receiving is not None
    receiving.fs.refused_write = (FOOTER, errno.ENOSPC)
    stored = world.send_study(1, [7_500] * 9)
    assert 0 < len(stored) < 9
    assert world.send_study(2, [700]) == []  # nothing goes in behind a half-written footer
    receiving.fs.refused_write = None
    stored += world.send_study(3, [7_500])
    world.heal_and_drain()
    assert world.bucket.members().keys() == set(stored)


def test_a_process_that_ends_between_two_segments_leaves_both(world: World) -> None:
    receiving = world.gateway.receiving
    assert receiving is not None
    receiving.fs.refused_write = (FOOTER, errno.ENOSPC)
    stored = world.send_study(1, [7_500] * 9)
    world.gateway.kill_receiver()
    world.gateway.start_receiver()
    stored += world.send_study(2, [7_500] * 2)
    world.heal_and_drain()
    assert world.bucket.members().keys() == set(stored)


def test_a_process_that_ends_behind_a_sealed_segment_begins_the_next(world: World) -> None:
    _fill_segment(world, 3_000)
    receiving = world.gateway.receiving
    assert receiving is not None
    receiving.fs.refused_write = (CHECKPOINT, errno.ENOSPC)
    assert world.send_study(2, [7_500]) == []
    assert room_in_segment(world) > SEGMENT_BYTES // 2  # the next one, and nothing in it
    world.gateway.kill_receiver()
    world.gateway.start_receiver()
    stored = world.send_study(3, [7_500])
    world.heal_and_drain()
    assert set(stored) <= world.bucket.members().keys()


def test_an_object_whose_record_finds_no_room_is_refused_and_leaves_no_file(world: World) -> None:
    world.gateway.disk.room_bytes = SEGMENT_BYTES - 1
    _fill_segment(world, 3_000)
    stored: list[str] = []
    while accepted := world.send_study(2, [12_000]):
        stored += accepted
        world.gateway.disk.room_bytes = SEGMENT_BYTES - 1
    assert world.gateway.receiving is not None
    objects = SpoolLayout(world.gateway.directory).objects
    assert {path.name.split(".")[0] for path in objects.iterdir()} == set(stored)
    world.heal_and_drain()


def test_associations_that_a_crash_left_open_are_closed_in_two_segments(world: World) -> None:
    for _ in range(20):
        world.send_study(1, [700], is_closed=False)
    _fill_segment(world, 4_500)
    world.gateway.kill_receiver()
    world.gateway.start_receiver()
    receiving = world.gateway.receiving
    assert receiving is not None and receiving.spool.recovery.associations_lost >= 10
    world.heal_and_drain()


def test_what_the_disk_breaks_while_an_object_is_named(world: World) -> None:
    receiving = world.gateway.receiving
    assert receiving is not None
    receiving.fs.refuses = errno.EIO
    world.send_study(1, [12_000])
    assert world.gateway.receiving is not receiving
    world.heal_and_drain()


# -- segments


def test_empty_segments_of_another_length_are_laid_anew(world: World) -> None:
    world.send_study(1, [7_500] * 3)
    world.gateway.let_receiver_work()  # one is laid ahead
    world.gateway.kill_receiver()
    world.gateway.limits = replace(LIMITS, segment_bytes=2 * SEGMENT_BYTES)
    world.gateway.start_receiver()
    world.send_study(2, [7_500] * 12)
    world.heal_and_drain()


def test_many_segments_that_become_free_at_once_are_not_all_kept(world: World) -> None:
    for study in range(1, 7):
        world.send_study(study, [7_500] * 7)
        world.work(6)
    world.clock.pass_time(HOLD_S + 61.0)
    for _ in range(12):
        world.work(1)
        world.clock.pass_time(1.1)
    layout = SpoolLayout(world.gateway.directory)
    assert len(list(layout.free.iterdir())) == 2
    assert not layout.segment(1).exists() and not layout.segment(4).exists()
    world.heal_and_drain()


# -- power


@pytest.mark.parametrize("seed", SEEDS)
def test_a_forwarder_that_starts_first_after_a_power_loss_waits_for_the_mark(
    world: World, seed: int
) -> None:
    """The mark is older than the ledger, or torn, until the receiver's next start."""
    world.send_study(1, [7_500] * 7)
    world.work(6)
    world.gateway.disk.settle()
    for study in range(2, 5):
        world.send_study(study, [7_500] * 7)
        world.work(6)
    before = mark_of(world)
    world.clock.pass_time(HOLD_S + 61.0)
    world.gateway.lose_power(seed)
    world.gateway.start_forwarder()
    for _ in range(3):
        world.gateway.forward(3)
        world.clock.pass_time(1.1)
    after = mark_of(world)
    assert after is None or (before is not None and after.segment_number <= before.segment_number)
    world.gateway.start_receiver()
    world.heal_and_drain()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_that_a_power_loss_tears_ends_the_log(world: World, seed: int) -> None:
    stored = world.send_study(1, [3_000])
    world.gateway.let_receiver_work()
    receiving = world.gateway.receiving
    assert receiving is not None
    world.gateway.open_association("association-torn")
    receiving.fs.ends_after = 1  # written, with what waited before it, and not flushed
    assert world.send_study(2, [7_500]) == []
    world.gateway.lose_power(seed)
    world.gateway.start_receiver()
    world.gateway.start_forwarder()
    stored += world.send_study(2, [3_000])
    world.heal_and_drain()
    assert set(stored) <= world.bucket.members().keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_purged_object_that_a_power_loss_brings_back_is_removed(world: World, seed: int) -> None:
    (stored,) = world.send_study(1, [12_000])
    world.work(8)
    world.gateway.disk.settle()
    world.request(RequestKind.RELEASE, [stored])
    world.work(3)
    path = SpoolLayout(world.gateway.directory).object(stored)
    assert world.ledger_ids(("purged",)) == [stored] and not path.exists()
    world.gateway.lose_power(seed)
    world.gateway.start_forwarder()
    world.gateway.start_receiver()
    world.heal_and_drain()
    assert world.ledger_ids(("purged",)) != [stored] or not path.exists()


def test_a_forwarder_in_an_empty_directory_waits_for_its_receiver(world: World) -> None:
    stored = world.send_study(1, [3_000])
    world.gateway.kill_receiver()
    world.gateway.kill_forwarder()
    directory = world.gateway.directory
    away = directory.with_name("away")
    directory.rename(away)
    directory.mkdir()
    world.gateway.start_forwarder()
    world.gateway.forward(3)
    world.gateway.kill_forwarder()
    for path in directory.iterdir():
        path.unlink()
    away.replace(directory)
    world.gateway.start_forwarder()
    world.gateway.start_receiver()
    world.heal_and_drain()
    assert world.bucket.members().keys() == set(stored)
