"""Corners of a member of the archive's group: refusals, a stop, a rebalance and a hanging broker.

Invariant: every test ends healed and drained, with all invariants checked, unless it is about what
nobody can heal.
"""

from __future__ import annotations

import pytest

from contracts.failures import FatalError
from contracts.topics import EVENT_REQUEST_BYTES_MAX, RECEIVED
from tests.simulation.corner_steps import world
from tests.simulation.world import World

__all__ = ["world"]

# A pack of three members is announced by a larger one, a pack of one by a smaller.
EVENT_OF_ONE_BYTES_MAX = 600


def _publish(world: World, study: int, sizes: list[int]) -> list[str]:
    """On return these stand on the bus, and the archive has not looked at them."""
    stored = world.send_study(study, sizes)
    world.publish_only(12)
    assert set(stored) <= {event.delivery_id for event in world.received()}
    return stored


def test_a_batch_of_nothing_but_refusals_is_committed_with_its_letters(world: World) -> None:
    world.centre.carry_garbage(RECEIVED)
    world.centre.carry_garbage(RECEIVED, None)
    for _ in range(3):
        world.archive.step()
    assert len(world.bus.log(RECEIVED.dlq_name, 0).records) == 2
    assert world.archive.group.lag() == 0
    world.heal_and_drain()


def test_a_letter_that_its_topic_does_not_take_stops_the_member_uncommitted(world: World) -> None:
    world.centre.carry_garbage(RECEIVED)
    world.bus.event_bytes_max = 3
    with pytest.raises(FatalError, match="publishing a dead letter"):
        world.archive.run_until(lambda: False)
    assert world.archive.group.lag() == 1
    world.bus.event_bytes_max = EVENT_REQUEST_BYTES_MAX
    world.heal_and_drain()
    assert len(world.bus.log(RECEIVED.dlq_name, 0).records) == 1


def test_refusals_without_end_stop_the_member_before_they_are_committed(world: World) -> None:
    for _ in range(120):
        world.centre.carry_garbage(RECEIVED)
    with pytest.raises(FatalError, match="bad deploy"):
        world.archive.run_until(lambda: False)
    assert world.archive.group.lag() >= 20


def test_a_stop_while_the_store_refuses_leaves_the_batch_to_another(world: World) -> None:
    world.archive.stop_member(0)
    stored = _publish(world, 1, [700, 3_000])
    world.store.refusals = 9
    world.archive.run_until(lambda: world.store.refusals < 7)
    assert world.archive.group.lag() == 2 and not world.bucket.members()
    world.heal_and_drain()
    assert world.bucket.members().keys() == set(stored)


def test_a_stop_in_the_middle_of_a_batch_leaves_it_to_another(world: World) -> None:
    world.archive.stop_member(0)
    stored = _publish(world, 1, [700])
    joining = iter([False])
    world.archive.run_until(lambda: next(joining, True))
    assert world.archive.group.lag() == 1
    world.heal_and_drain()
    assert world.bucket.members().keys() == set(stored)


def test_a_rebalance_while_the_store_refuses_drops_the_batch(world: World) -> None:
    stored = _publish(world, 1, [700, 3_000])
    world.archive.step()  # assigned
    (member,) = world.archive.members
    world.store.refusals = 2
    member.consumer.at_each_poll = lambda: (
        world.archive.group.rebalance() if world.store.refusals == 1 else None
    )
    world.archive.step()
    assert world.archive.group.lag() == 2
    member.consumer.at_each_poll = lambda: None
    world.heal_and_drain()
    assert world.bucket.members().keys() == set(stored)


def test_a_member_that_searches_for_a_culprit_stays_in_its_group(world: World) -> None:
    stored = _publish(world, 1, [700, 3_000, 700])
    world.bus.event_bytes_max = EVENT_OF_ONE_BYTES_MAX
    world.store.slow_puts = 1
    world.work(10)
    assert sorted(world.ledger_ids(("archived",))) == sorted(stored)
    assert not world.bus.log(RECEIVED.dlq_name, 0).records
    world.heal_and_drain()


def test_a_member_whose_connection_hangs_joins_anew(world: World) -> None:
    stored = _publish(world, 1, [700])
    world.archive.step()
    (member,) = world.archive.members
    member.consumer.is_stuck = True
    for _ in range(150):
        world.archive.step()
        world.clock.pass_time(0.3)
    assert not member.consumer.is_stuck
    world.heal_and_drain()
    assert world.bucket.members().keys() == set(stored)


def test_more_packs_than_may_be_on_their_way_wait_for_one_another(world: World) -> None:
    stored = [each for study in range(1, 7) for each in world.send_study(study, [700])]
    world.publish_only(20)
    world.work(6)
    world.heal_and_drain()
    assert world.bucket.members().keys() == set(stored)


def test_a_large_delivery_whose_payload_rots_leaves_no_pack(world: World) -> None:
    (large,) = world.send_study(1, [70_000])
    for _ in range(60):
        world.publish_only(1)
        if world.rot_payload_of(large):
            break
    world.archive.step()
    world.work(4)
    assert world.ledger_ids(("refused",)) == [large] and not world.bucket.members()
    world.heal_and_drain()
