"""Corners of the state machines that random worlds reach seldom, each on purpose.

Invariant: every test ends healed and drained, with all invariants checked, unless it is about what
nobody can heal.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace

import pytest

from contracts.events import RequestKind
from contracts.failures import FatalError
from edge_gateway.spool import FileSystem, SpoolError, SpoolFull, SpoolLimits, SpoolMismatch
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.segment import BLOCK_BYTES
from infra.partitions import Partition
from tests.simulation.limits import HOLD_S, LIMITS, SEGMENT_BYTES
from tests.simulation.world import World

MIB = 1024 * 1024


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def spoil(world: World, number: int, offset_bytes: int) -> None:
    """One bit of a segment rots."""
    path = SpoolLayout(world.gateway.directory).segment(number)
    content = bytearray(path.read_bytes())
    content[offset_bytes] ^= 1
    path.write_bytes(content)


def offset_of(world: World, delivery_id: str) -> tuple[int, int]:
    """Segment and offset of a delivery's record, as the ledger knows them."""
    forwarding = world.gateway.forwarding
    assert forwarding is not None
    entry = forwarding.progress.find(delivery_id)
    assert entry is not None
    return entry.location.segment_number, entry.location.offset_bytes


def take_in_only(world: World) -> None:
    """The forwarder reads the spool and reaches nobody; `heal` ends that."""
    world.bus.down_until = world.clock.monotonic() + 1_000
    world.gateway.forward(5)


def set_aside(world: World, *delivery_ids: str) -> None:
    """The simulation spoiled these: they are beside every claim."""
    world.rotten.update(delivery_ids)
    world.set_aside.update(delivery_ids)


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


# -- room


def test_a_stuck_delivery_is_copied_forward_and_its_segment_recycled(world: World) -> None:
    stuck = _stuck(world)
    for study in range(2, 9):
        world.send_study(study, [7_500] * 5)
        world.work(10)
    world.clock.pass_time(HOLD_S + 2 * 3_600)
    world.work(2)
    world.clock.pass_time(2)
    world.work(2)
    layout = SpoolLayout(world.gateway.directory)
    assert layout.remnant(stuck).exists()
    assert not layout.segment(1).exists()
    world.check()
    world.gateway.lose_power(5)
    world.heal_and_drain()


def _stuck(world: World) -> str:
    """A delivery that the archive refuses, because its payload rotted on the bus."""
    (stuck,) = world.send_study(1, [3_000])
    for _ in range(4):
        world.gateway.let_receiver_work()
        world.gateway.forward(2)
        world.bus.work()
    assert world.rot_payload_of(stuck)
    world.work(6)
    assert world.ledger_ids(("refused",)) == [stuck]
    return stuck


def test_a_remnant_that_rots_is_told_and_the_rest_is_found(world: World) -> None:
    stuck = _stuck(world)
    for study in range(2, 9):
        world.send_study(study, [7_500] * 5)
        world.work(10)
    world.clock.pass_time(HOLD_S + 2 * 3_600)
    world.work(2)
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
    assert world.ledger_ids(("published",)) == [stored[1]]
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


def test_limits_default_to_what_the_disk_gives() -> None:
    assert SpoolLimits().inline_bytes_max == 4 * MIB


def test_what_the_archive_refused_may_be_released_by_a_person(world: World) -> None:
    stuck = _stuck(world)
    world.request(RequestKind.RELEASE, [stuck])
    world.work(2)
    assert world.ledger_ids(("purged",)) == [stuck]
    world.heal_and_drain()
