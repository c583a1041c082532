"""Corners of what others say to a gateway, and of what it sends when they are slow to answer.

Invariant: every test ends healed and drained, with all invariants checked, unless it is about what
nobody can heal.
"""

from __future__ import annotations

from contracts.events import CustodyMember, CustodyState, RequestKind
from contracts.topics import CUSTODY, GATEWAY_REQUEST
from infra.settings_forwarding import ForwardingSettings
from tests.simulation.centre import OTHER_GATEWAY_ID
from tests.simulation.corner_steps import world
from tests.simulation.world import World

__all__ = ["world"]


def _member(world: World, delivery_id: str) -> CustodyMember:
    return CustodyMember(delivery_id, world.history.sent[delivery_id].content_sha256)


def test_what_is_meant_for_another_gateway_changes_nothing(world: World) -> None:
    world.archive.stop_member(0)
    (stored,) = world.send_study(1, [3_000])
    world.work(5)
    world.centre.say_custody(CustodyState.ARCHIVED, _member(world, stored), OTHER_GATEWAY_ID)
    world.centre.ask_another_gateway(RequestKind.REPUBLISH, stored)
    world.gateway.forward(4)
    assert world.ledger_ids(("published",)) == [stored]
    world.heal_and_drain()


def test_a_copy_at_another_site_resolves_nothing_by_itself(world: World) -> None:
    world.archive.stop_member(0)
    (stored,) = world.send_study(1, [3_000])
    world.work(5)
    world.centre.say_custody(CustodyState.REPLICATED, _member(world, stored))
    world.gateway.forward(4)
    assert world.ledger_ids(("published",)) == [stored]
    world.heal_and_drain()
    world.centre.say_custody(CustodyState.REPLICATED, _member(world, stored))
    world.gateway.forward(4)
    assert world.ledger_ids(("archived",)) == [stored]
    world.check()


def test_records_without_a_value_are_passed_over(world: World) -> None:
    world.send_study(1, [700])
    for topic in (CUSTODY, GATEWAY_REQUEST):
        world.centre.carry_garbage(topic, None)
    world.work(4)
    world.heal_and_drain()


# -- what is sent


def test_an_empty_data_set_goes_its_whole_way(world: World) -> None:
    stored = world.send_study(1, [0, 700], faulty="no_data_set")
    world.heal_and_drain()
    assert world.bucket.members().keys() == set(stored)


def test_a_broker_that_goes_while_records_are_on_their_way_is_waited_for(world: World) -> None:
    world.work(3)
    world.bus.held_until = world.clock.monotonic() + 4
    first = world.send_study(1, [7_500])
    world.gateway.forward(2)
    second = world.send_study(2, [7_500])
    world.bus.down_until = world.clock.monotonic() + 8
    world.gateway.forward(4)
    forwarding = world.gateway.forwarding
    assert forwarding is not None and not forwarding.pipeline.is_idle
    assert world.ledger_ids(("spooled",)) == [*first, *second]
    world.heal_and_drain()


def test_a_limit_of_bandwidth_is_kept_within_a_delivery(world: World) -> None:
    world.gateway.kill_forwarder()
    world.gateway.settings = ForwardingSettings(
        bandwidth_bytes_per_s_max=2_048, bandwidth_burst_bytes_max=4_096
    )
    world.gateway.start_forwarder()
    stored = world.send_study(1, [12_000, 7_500, 700])
    world.work(6)
    assert len(world.bus.published) < 8
    world.heal_and_drain()
    assert world.bucket.members().keys() == set(stored)


# -- receipts


def test_receipts_far_apart_are_told_on_pages_of_their_own(world: World) -> None:
    world.bus.down_until = world.clock.monotonic() + 900
    world.send_study(1, [700] * 3, pause_s=130.0)
    world.send_study(2, [700] * 3, pause_s=130.0, is_closed=False)
    world.gateway.forward(4)
    world.heal_and_drain()
    told = [record for record in world.bus.published if "receipt" in record.topic]
    assert len(told) >= 4
