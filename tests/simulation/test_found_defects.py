"""What the simulation once found in the product, each as the few steps that showed it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_gateway.spool.layout import SpoolLayout
from tests.simulation.planted import RECALL_FORGOTTEN
from tests.simulation.truth import Violation
from tests.simulation.world import World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_a_republish_request_that_overtakes_the_acknowledgement_is_obeyed(world: World) -> None:
    """It was taken for done, since the delivery was spooled still, and then forgotten.

    The archive never read the event again, and only the payload's age brought it back: 12 h.
    """
    delivery_id = _request_that_overtakes(world)
    assert world.ledger_ids(("archived",)) == [delivery_id]
    world.heal_and_drain()


def test_the_same_steps_find_a_recall_that_is_forgotten(world: World) -> None:
    world.close()
    faulty = World(RECALL_FORGOTTEN.replacements)
    try:
        _request_that_overtakes(faulty)
        with pytest.raises(Violation, match="not drained"):
            faulty.heal_and_drain()
    finally:
        faulty.close()


def _request_that_overtakes(world: World) -> str:
    """The archive reads an event, misses its payload, and asks before its sender was told."""
    (delivery_id,) = world.send_study(1, [7_500])
    world.gateway.forward(3)
    world.bus.work()  # its chunks
    world.gateway.forward(2)
    world.bus.append_without_telling(8)  # its event: there, and not acknowledged
    world.bus.expire_payload()
    world.archive.step()
    world.archive.step()
    world.work(8)
    return delivery_id


@pytest.mark.parametrize("power", range(6))
def test_an_object_survives_a_kill_then_a_full_segment_then_a_power_loss(
    world: World, power: int
) -> None:
    """Its name was flushed before the segment was sealed only by the process that gave it.

    The next one sealed without, and a power loss gave the name back under which recovery deletes
    what no record of the last segment names.
    """
    world.send_study(1, [700])
    world.bus.down_until = world.clock.monotonic() + 1_000
    (stored,) = world.send_study(2, [12_000])
    world.gateway.kill_receiver()
    world.gateway.start_receiver()
    world.send_study(3, [7_500] * 9)
    world.gateway.lose_power(power)
    world.gateway.start_receiver()
    world.check()
    world.heal_and_drain()
    assert stored in world.bucket.members()


def test_a_number_of_a_segment_that_was_put_aside_is_never_given_again(world: World) -> None:
    """A start that found no room for a segment had put the only one aside; the next began at 1.

    The forwarder stood behind that place already: what was stored there it neither read nor
    published, and it would have recycled the segment.
    """
    world.send_study(1, [700])
    world.work(6)
    world.gateway.kill_receiver()
    layout = SpoolLayout(world.gateway.directory)
    for path in layout.segments.iterdir():
        path.write_bytes(b"?" + path.read_bytes()[1:])
    world.gateway.disk.room_bytes = 0
    world.gateway.start_receiver()
    assert world.gateway.receiving is None
    world.heal()
    assert world.gateway.receiving is not None
    (stored,) = world.send_study(2, [700])
    world.heal_and_drain()
    assert stored in world.bucket.members()


def test_a_clock_set_back_before_a_restart_lets_nothing_overtake(world: World) -> None:
    """Several spools are published in the order of arrival, and the last time was in memory only.

    After a kill of the forwarder an image of the same study that came after the clock was set
    back stood before the one that was waiting.
    """
    world.bus.down_until = world.clock.monotonic() + 1_000
    first = world.send_study(1, [700])
    world.gateway.forward(2)
    world.clock.step_wall_clock(-3_600.0)
    world.gateway.kill_forwarder()
    world.gateway.start_forwarder()
    second = world.send_study(1, [700])
    world.heal_and_drain()
    assert {*first, *second} <= set(world.bucket.members())
