"""Corners of forwarder and receiver that random worlds reach seldom, each on purpose.

Invariant: every test ends healed and drained, with all invariants checked, unless it is about what
nobody can heal.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.events import InstanceReceived, RequestKind
from edge_gateway.spool import SpoolError, SpoolFull, SpoolLimits, SpoolMismatch
from edge_gateway.spool.layout import SpoolLayout
from tests.simulation.corner_steps import (
    offset_of,
    refused_one,
    set_aside,
    spoil,
    take_in_only,
    world,
)
from tests.simulation.limits import LIMITS, SEGMENT_BYTES
from tests.simulation.world import World

MIB = 1024 * 1024


__all__ = ["world"]


# -- the forwarder


def test_a_delivery_that_rots_before_it_is_sent_is_set_aside_and_harms_no_other(
    world: World,
) -> None:
    first, second, third = world.send_study(1, [3_000, 12_000, 700])
    take_in_only(world)
    number, offset = offset_of(world, first)
    spoil(world, number, offset + 2_000)
    external = SpoolLayout(world.gateway.directory).object(second)
    external.write_bytes(b"x" + external.read_bytes()[1:])
    set_aside(world, first, second)
    world.heal_and_drain()
    assert world.ledger_ids(("archived",)) == [third]
    forwarding = world.gateway.forwarding
    assert forwarding is not None
    assert {problem[0] for problem in forwarding.progress.problems(9)} == {first, second}
    world.clock.pass_time(700)  # tried again, and set aside again
    world.work(4)
    assert set(world.ledger_ids(("spooled",))) == {first, second}


def test_a_delivery_whose_bytes_vanish_is_called_lost_by_name(world: World) -> None:
    (gone, kept) = world.send_study(1, [12_000, 700])
    take_in_only(world)
    SpoolLayout(world.gateway.directory).object(gone).unlink()
    world.rotten.add(gone)
    world.set_aside.add(gone)
    world.heal_and_drain()
    assert world.ledger_ids(("lost",)) == [gone]
    assert world.ledger_ids(("archived",)) == [kept]
    world.request(RequestKind.REPUBLISH, [gone, "unknown"])
    world.work(3)
    assert world.ledger_ids(("lost",)) == [gone]


def test_an_event_that_is_too_large_gives_up_its_header_then_waits(world: World) -> None:
    world.bus.event_bytes_max = 100
    world.send_study(1, [700, 3_000])
    world.work(6)
    assert len(world.ledger_ids(("spooled",))) == 2
    world.set_aside.update(world.ledger_ids(("spooled",)))
    world.bus.event_bytes_max = MIB
    world.clock.pass_time(700)
    world.heal_and_drain()


def test_an_event_that_fits_without_its_header_goes_without(world: World) -> None:
    world.archive.stop_member(0)
    world.send_study(1, [700])
    world.publish_only(6)
    (record,) = world.bus.events(InstanceReceived)
    world.bus.event_bytes_max = len(record.value or b"") - 1
    world.send_study(1, [700])
    world.publish_only(6)
    world.bus.event_bytes_max = MIB
    assert [event.header_complete for event in world.received()] == [True, False]
    world.heal_and_drain()


def test_a_release_is_obeyed_for_what_is_archived_and_for_nothing_else(world: World) -> None:
    (archived,) = world.send_study(1, [3_000])
    world.work(8)
    world.bus.down_until = world.clock.monotonic() + 30
    (spooled,) = world.send_study(2, [3_000])
    world.gateway.forward(2)
    world.clock.pass_time(31)
    world.request(RequestKind.RELEASE, [archived, spooled, archived])
    for _ in range(3):
        world.request(RequestKind.RELEASE, ["unknown"])
    world.work(4)
    assert world.ledger_ids(("purged",)) == [archived]
    world.request(RequestKind.RELEASE, [archived])
    world.request(RequestKind.REPUBLISH, [archived])
    world.heal_and_drain()


def test_what_stays_published_too_long_goes_again(world: World) -> None:
    world.archive.stop_member(0)
    world.send_study(1, [3_000, 700])
    world.work(5)
    assert len(world.ledger_ids(("published",))) == 2
    world.bus.expire_payload()
    world.clock.pass_time(13 * 3_600)
    world.heal_and_drain()


def test_priorities_keep_the_order_of_one_study(world: World) -> None:
    world.close()
    ranked = World(has_priorities=True)
    try:
        for study in (1, 2, 1):
            ranked.send_study(study, [700, 3_000, 700])
            ranked.gateway.forward(1)
            ranked.clock.pass_time(0.3)
        ranked.heal_and_drain()
    finally:
        ranked.close()


def test_a_forwarder_that_starts_without_its_ledger_finds_all_again(world: World) -> None:
    for study in range(1, 7):
        world.send_study(study, [7_500, 7_500, 7_500])
        world.work(6)
    (stuck,) = world.send_study(7, [3_000])
    world.rot_payload_of(stuck)
    world.heal()
    world.work(6)
    world.gateway.kill_forwarder()
    for suffix in ("", "-wal", "-shm"):
        (world.gateway.directory / f"progress.sqlite{suffix}").unlink(missing_ok=True)
    world.gateway.start_forwarder()
    world.heal_and_drain()


# -- the receive process


def test_a_torn_or_rotten_log_is_recovered_around(world: World) -> None:
    deliveries = []
    for study in range(1, 5):
        deliveries += world.send_study(study, [7_500, 700, 7_500])
    take_in_only(world)
    number, offset = offset_of(world, deliveries[-2])
    world.gateway.kill_receiver()
    world.gateway.kill_forwarder()
    spoil(world, number, offset + 10)  # its head: stepped over
    set_aside(world, deliveries[-2])
    world.gateway.start_receiver()
    world.gateway.start_forwarder()
    receiving = world.gateway.receiving
    assert receiving is not None and receiving.spool.recovery.damaged
    world.heal_and_drain()


def test_a_segment_without_a_header_is_put_aside_not_away(world: World) -> None:
    stored = world.send_study(1, [7_500] * 6) + world.send_study(2, [7_500] * 6)
    world.gateway.kill_receiver()
    spoil(world, 1, 2)
    set_aside(world, *stored)
    layout = SpoolLayout(world.gateway.directory)
    orphan = layout.unfinished_object("01980000-0000-7000-8000-0000000000ff")
    orphan.write_bytes(b"maybe named by a record that has rotted")
    world.gateway.disk.make_file(orphan)
    (layout.free / "0000000099.tmp").write_bytes(b"")
    world.gateway.disk.make_file(layout.free / "0000000099.tmp")
    world.gateway.start_receiver()
    receiving = world.gateway.receiving
    assert receiving is not None and receiving.spool.recovery.damaged
    assert (layout.damaged / layout.segment(1).name).exists()
    assert (layout.damaged / orphan.name).exists()
    world.work(3)
    world.check()


def test_settings_that_change_between_two_starts(world: World) -> None:
    world.send_study(1, [7_500] * 3)
    world.gateway.kill_receiver()
    with pytest.raises(SpoolMismatch):
        world.gateway.open_spool(replace(LIMITS, segment_bytes=1_000))
    world.gateway.limits = replace(LIMITS, segment_bytes=2 * SEGMENT_BYTES)
    world.gateway.start_receiver()
    world.send_study(2, [7_500] * 12)
    world.heal_and_drain()


def test_a_sink_refuses_what_it_cannot_keep(world: World) -> None:
    world.gateway.kill_receiver()
    world.gateway.limits = replace(LIMITS, memory_bytes_max=4_000, object_bytes_max=10_000)
    world.gateway.start_receiver()
    assert world.send_study(1, [3_000, 7_500, 20_000]) != []
    receiving = world.gateway.receiving
    assert receiving is not None
    sink = world.gateway.begin_delivery()
    sink.write(b"\0" * 100)
    assert sink.size_bytes == 100
    sink.abort()
    sink.abort()
    with pytest.raises(SpoolError):
        sink.write(b"x")
    with pytest.raises(SpoolError):
        sink.commit()
    world.gateway.disk.room_bytes = 0
    assert world.send_study(2, [9_000]) == []
    with pytest.raises(SpoolFull):
        big = world.gateway.begin_delivery()
        for _ in range(3):
            big.write(bytes(3_000))
    world.heal_and_drain()


def test_limits_default_to_what_the_disk_gives() -> None:
    assert SpoolLimits().inline_bytes_max == 4 * MIB


def test_what_the_archive_refused_may_be_released_by_a_person(world: World) -> None:
    stuck = refused_one(world)
    world.request(RequestKind.RELEASE, [stuck])
    world.work(2)
    assert world.ledger_ids(("purged",)) == [stuck]
    world.heal_and_drain()
