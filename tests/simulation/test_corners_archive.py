"""Corners of the archive and of the room that it gives back, each on purpose.

Invariant: every test ends healed and drained, with all invariants checked, unless it is about what
nobody can heal.
"""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from contracts.events import RequestKind
from contracts.failures import FatalError
from edge_gateway.spool import FileSystem
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.segment import BLOCK_BYTES
from infra.partitions import Partition
from tests.simulation.corner_steps import (
    set_aside,
    spoil,
    stuck_one_copied_forward,
    world,
)
from tests.simulation.limits import SEGMENT_BYTES
from tests.simulation.world import World

MIB = 1024 * 1024


__all__ = ["world"]


# -- room


def test_a_stuck_delivery_is_copied_forward_and_its_segment_recycled(world: World) -> None:
    stuck_one_copied_forward(world)
    assert not SpoolLayout(world.gateway.directory).segment(1).exists()
    world.check()
    world.gateway.lose_power(5)
    world.heal_and_drain()


def test_a_remnant_that_rots_is_told_and_the_rest_is_found(world: World) -> None:
    stuck = stuck_one_copied_forward(world)
    path = SpoolLayout(world.gateway.directory).remnant(stuck)
    content = path.read_bytes()
    path.write_bytes(content[:-20] + b"?" * 20)
    set_aside(world, stuck)
    world.request(RequestKind.REPUBLISH, [stuck])
    world.work(4)
    assert world.ledger_ids(("spooled",)) == [stuck]
    world.gateway.kill_forwarder()
    (world.gateway.directory / "progress.sqlite").unlink()
    world.gateway.start_forwarder()
    world.work(4)
    path.unlink()
    world.check()


def test_a_full_spool_lets_go_early_and_takes_again(world: World) -> None:
    refused = 0
    for study in range(1, 30):
        refused += 5 - len(world.send_study(study, [7_500] * 5))
        for _ in range(3):
            world.work(3)
            world.clock.pass_time(1.1)
    assert refused == 0, "what is archived makes room before the hold time is over"
    world.archive.stop_member(0)
    for study in range(30, 60):
        refused += 3 - len(world.send_study(study, [7_500] * 3))
        world.clock.pass_time(4)
    assert refused > 0
    world.heal_and_drain()
    world.clock.pass_time(5)
    assert len(world.send_study(99, [7_500])) == 1
    world.heal_and_drain()


def test_a_segment_whose_footer_rots_is_kept_and_others_go(world: World) -> None:
    for study in range(1, 4):
        world.send_study(study, [7_500] * 5)
        world.work(10)
    spoil(world, 1, SEGMENT_BYTES - BLOCK_BYTES + 3)
    for _ in range(9):
        world.quiet_day()
    numbers = SpoolLayout(world.gateway.directory).segment_numbers(FileSystem())
    assert 1 in numbers and 2 not in numbers
    world.gateway.kill_receiver()
    world.gateway.start_receiver()
    world.heal_and_drain()


def test_a_disk_that_refuses_what_retention_does_is_told_and_tried_again(world: World) -> None:
    for study in range(1, 6):
        world.send_study(study, [7_500] * 5)
        world.work(10)
    forwarding = world.gateway.forwarding
    assert forwarding is not None
    forwarding.fs.refuses = errno.EIO
    world.quiet_day()
    forwarding.fs.refuses = None
    world.quiet_day()
    world.heal_and_drain()


# -- the archive


def test_records_with_identities_that_cannot_be_are_refused(world: World) -> None:
    world.send_study(1, [3_000])
    world.work(8)
    (event,) = world.received()[:1]
    for wrong in (
        replace(event, delivery_id="NO-UUID"),
        replace(event, delivery_id="{01980000-0000-7000-8000-000000000001}"),
        replace(event, content=replace(event.content, content_sha256="X")),
        replace(event, size_bytes=-1),
    ):
        world.centre.publish_received(wrong)
    world.archive.step()
    world.archive.step()
    assert len(world.bus.log("imaging.instance.received.v1.dlq", 0).records) == 4


def test_a_store_that_refuses_one_pack_for_good_costs_that_one_alone(world: World) -> None:
    world.store.refused_bytes_min = 12_000
    stored = world.send_study(1, [700, 12_000, 700])
    world.work(10)
    assert len(world.ledger_ids(("archived",))) == 2
    assert world.ledger_ids(("refused",)) == [stored[1]]
    world.store.refused_bytes_min = 1 << 40
    world.request(RequestKind.REPUBLISH, [stored[1]])
    world.heal_and_drain()


def test_a_pack_that_memory_never_holds_goes_by_the_scratch_disk(world: World) -> None:
    (large,) = world.send_study(1, [70_000])
    world.heal_and_drain()
    assert world.bucket.members().keys() == {large}


def test_a_write_that_takes_too_long_is_begun_again(world: World) -> None:
    world.send_study(1, [3_000, 700])
    world.work(1)
    world.store.slow_puts = 2
    world.work(4)
    world.heal_and_drain()


def test_history_that_is_gone_stops_the_archive(world: World) -> None:
    world.send_study(1, [3_000, 700])
    world.work(8)
    for partition, log in world.bus.logs.items():
        if partition.topic == "imaging.instance.received.v1" and log.records:
            log.start += 1_000
            log.records.clear()
            known = partition
    assert isinstance(known, Partition)
    world.archive.group.rebalance()
    with pytest.raises(FatalError, match="history is missing"):
        world.work(3)


def test_a_run_ends_when_asked_and_leaves_its_group(world: World) -> None:
    world.archive.stop_member(0)
    world.send_study(1, [3_000])
    world.work(5)
    world.archive.run_until(lambda: world.archive.group.lag() == 0)
    assert world.archive.group.members == []
    world.heal_and_drain()
