"""Steps that several corners share: spoiling bytes, and deliveries that are stuck.

Invariant: whatever is spoiled is told to the world, so that no claim is made for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_gateway.spool import FileSystem
from edge_gateway.spool.entry import SpooledDelivery, decode_entry
from edge_gateway.spool.filesystem import READ
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.mark import DurableMark, read_mark
from edge_gateway.spool.segment import BLOCK_BYTES, FoundRecord, SegmentFile
from tests.simulation.limits import HOLD_S
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


def cut(world: World, number: int, left_bytes: int) -> None:
    """A segment's file ends too early, as after a disk repair."""
    path = SpoolLayout(world.gateway.directory).segment(number)
    path.write_bytes(path.read_bytes()[:left_bytes])


def records_of(world: World, number: int) -> list[FoundRecord]:
    """A segment's records up to the first that is not whole, to choose one to spoil."""
    segment = SegmentFile(FileSystem(), SpoolLayout(world.gateway.directory).segment(number))
    try:
        found: list[FoundRecord] = []
        end_bytes = BLOCK_BYTES
        while (record := segment.record_at(end_bytes)) is not None:
            found.append(record)
            end_bytes = record.end_bytes
        return found
    finally:
        segment.close()


def delivery_in(record: FoundRecord) -> list[str]:
    """The delivery that a record is, if it is one."""
    if not record.meta:
        return []
    entry = decode_entry(record.head.kind, record.meta)
    return [entry.delivery_id] if isinstance(entry, SpooledDelivery) else []


def last_segment(world: World) -> int:
    """The last segment that has records."""
    numbers = SpoolLayout(world.gateway.directory).segment_numbers(FileSystem())
    return max(number for number in numbers if records_of(world, number))


def room_in_segment(world: World) -> int:
    """What still fits into the segment that is written."""
    receiving = world.gateway.receiving
    assert receiving is not None
    return receiving.spool._parts.log.room_bytes


def mark_of(world: World) -> DurableMark | None:
    """The durable mark as another process reads it."""
    fs, path = FileSystem(), SpoolLayout(world.gateway.directory).mark
    if not path.exists():
        return None
    descriptor = fs.open(path, READ)
    try:
        return read_mark(fs, descriptor)
    finally:
        fs.close(descriptor)


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


def stuck_one_copied_forward(world: World) -> str:
    """A delivery that the archive refuses and that has outlived its segment."""
    stuck = refused_one(world)
    for study in range(2, 9):
        world.send_study(study, [7_500] * 5)
        world.work(10)
    world.clock.pass_time(HOLD_S + 2 * 3_600)
    world.work(2)
    world.clock.pass_time(2)
    world.work(2)
    assert SpoolLayout(world.gateway.directory).remnant(stuck).exists()
    return stuck
