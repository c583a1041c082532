"""Steps that several corners share: spoiling bytes, and deliveries that are stuck.

Invariant: whatever is spoiled is told to the world, so that no claim is made for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_gateway.spool.layout import SpoolLayout
from tests.simulation.world import World


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


def refused_one(world: World) -> str:
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
