"""Corners of bytes that rot or are cut off in the spool: what is lost is told, the rest goes on.

Invariant: every test ends healed and drained, with all invariants checked, unless it is about what
nobody can heal.
"""

from __future__ import annotations

import pytest

from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.record import HEAD_BYTES, MAGIC
from edge_gateway.spool.segment import BLOCK_BYTES
from tests.simulation.corner_steps import (
    cut,
    delivery_in,
    last_segment,
    offset_of,
    records_of,
    set_aside,
    spoil,
    stuck_one_copied_forward,
    take_in_only,
    world,
)
from tests.simulation.limits import SEGMENT_BYTES
from tests.simulation.world import World

# Places in a record's head: reserved, body length (+ 4 GiB), JSON's length (+ 16 MiB).
RESERVED, BODY_LENGTH, META_LENGTH = 6, 28, 35
# A data set in which every eight bytes, and every four, look like the head of a record.
DECEIVING = MAGIC


__all__ = ["world"]


def _restart_receiver(world: World) -> list[str]:
    world.gateway.kill_receiver()
    world.gateway.start_receiver()
    receiving = world.gateway.receiving
    assert receiving is not None
    return list(receiving.spool.recovery.damaged)


def _rot(world: World, delivery_id: str, place: int) -> None:
    """One bit of its record rots, so many bytes behind the record's first."""
    number, offset = offset_of(world, delivery_id)
    spoil(world, number, offset + place)
    set_aside(world, delivery_id)


# -- heads and bodies of records


@pytest.mark.parametrize("place", [RESERVED, BODY_LENGTH, META_LENGTH, HEAD_BYTES + 9])
def test_a_head_that_rots_costs_its_own_delivery_alone(world: World, place: int) -> None:
    stored = world.send_study(1, [3_000] * 5, filler=DECEIVING)
    take_in_only(world)
    _rot(world, stored[0], place)
    world.heal_and_drain()
    assert set(world.ledger_ids(("archived",))) == set(stored[1:])
    assert world.ledger_ids(("spooled",)) == [stored[0]]


@pytest.mark.parametrize("place", [RESERVED, BODY_LENGTH, HEAD_BYTES + 700])
def test_recovery_steps_over_what_rots_below_the_mark(world: World, place: int) -> None:
    stored = world.send_study(1, [3_000] * 4, filler=DECEIVING)
    take_in_only(world)
    _rot(world, stored[1], place)
    assert len(_restart_receiver(world)) == 1
    world.send_study(1, [3_000])
    world.heal_and_drain()
    assert set(stored[2:]) <= world.bucket.members().keys()


def test_a_body_that_rots_and_looks_like_records_is_stepped_over_by_its_length(
    world: World,
) -> None:
    stored = world.send_study(1, [7_500] * 3, filler=DECEIVING)
    take_in_only(world)
    _rot(world, stored[1], 4_000)
    assert len(_restart_receiver(world)) == 1
    world.heal_and_drain()


def test_the_last_record_below_the_mark_rots(world: World) -> None:
    world.send_study(1, [3_000] * 2, filler=DECEIVING)
    world.gateway.let_receiver_work()  # the association's end is the last record
    number = last_segment(world)
    last = records_of(world, number)[-1]
    assert not delivery_in(last)
    spoil(world, number, last.offset_bytes + RESERVED)
    assert len(_restart_receiver(world)) == 1
    world.gateway.forward(3)
    world.check()
    world.heal_and_drain()


def test_records_at_the_end_of_a_sealed_segment_rot_before_they_are_read(world: World) -> None:
    world.gateway.kill_forwarder()
    stored = world.send_study(1, [7_500] * 9, filler=DECEIVING)
    lost: list[str] = []
    for record in records_of(world, 1)[-3:]:
        spoil(world, 1, record.offset_bytes + RESERVED)
        lost += delivery_in(record)
    set_aside(world, *lost)
    world.gateway.start_forwarder()
    take_in_only(world)
    world.heal()
    world.work(20)
    assert set(stored) - set(lost) <= world.bucket.members().keys()
    assert set(lost) & set(stored) and not set(lost) & world.bucket.members().keys()
    world.check()


def test_a_checkpoint_that_rots_leaves_receipts_of_nobody_known(world: World) -> None:
    stored = world.send_study(1, [700], is_closed=False)
    stored += world.send_study(2, [7_500] * 7, is_closed=False)
    world.gateway.answer_refusal("association-1")
    world.gateway.let_receiver_work()
    number = last_segment(world)
    assert number == 2
    spoil(world, number, BLOCK_BYTES + RESERVED)
    assert len(_restart_receiver(world)) == 1
    world.heal_and_drain()
    assert world.bucket.members().keys() == set(stored)


def test_a_record_with_much_to_tell_is_read_in_two_parts(world: World) -> None:
    stored = world.send_study(1, [700, 3_000], faulty="told at length: " + "why " * 500)
    take_in_only(world)
    _restart_receiver(world)
    world.heal_and_drain()
    assert world.bucket.members().keys() == set(stored)


# -- headers, footers and files that are cut


@pytest.mark.parametrize("place", [16, 24])
def test_a_footer_that_rots_in_its_fields_is_not_believed(world: World, place: int) -> None:
    stored = [each for study in range(1, 4) for each in world.send_study(study, [7_500] * 5)]
    spoil(world, 1, SEGMENT_BYTES - BLOCK_BYTES + place)
    world.work(12)
    assert any("no footer" in told for told in _restart_receiver(world))
    world.heal_and_drain()
    assert world.bucket.members().keys() == set(stored)


@pytest.mark.parametrize("left_bytes", [20, BLOCK_BYTES, SEGMENT_BYTES - 8])
def test_a_segment_that_is_cut_off_is_put_aside(world: World, left_bytes: int) -> None:
    lost = world.send_study(1, [7_500] * 6)
    kept = world.send_study(2, [7_500])
    world.gateway.kill_receiver()
    world.gateway.kill_forwarder()
    cut(world, 1, left_bytes)
    set_aside(world, *lost)
    world.gateway.start_receiver()
    world.gateway.start_forwarder()
    layout = SpoolLayout(world.gateway.directory)
    assert (layout.damaged / layout.segment(1).name).exists()
    world.work(10)
    assert set(kept) <= world.bucket.members().keys()
    world.check()


@pytest.mark.parametrize("taken", [0, 1])
def test_a_header_that_rots_under_a_running_forwarder_is_stepped_over(
    world: World, taken: int
) -> None:
    before = world.send_study(1, [7_500] * 5)
    if taken:
        take_in_only(world)  # nothing in hand where it meets the rotten header
    stored = world.send_study(2, [7_500] * 12)
    rotten = [each for record in records_of(world, 2) for each in delivery_in(record)]
    set_aside(world, *rotten)
    spoil(world, 2, 20)
    take_in_only(world)
    world.heal()
    world.work(20)
    kept = {*before, *stored} - set(rotten)
    assert rotten and kept <= world.bucket.members().keys()
    world.check()


# -- remnants


@pytest.mark.parametrize("left_bytes", [0, HEAD_BYTES - 8, 200])
def test_a_remnant_that_is_cut_off_is_told_by_name(world: World, left_bytes: int) -> None:
    stuck = stuck_one_copied_forward(world)
    path = SpoolLayout(world.gateway.directory).remnant(stuck)
    path.write_bytes(path.read_bytes()[:left_bytes])
    set_aside(world, stuck)
    world.gateway.kill_forwarder()
    (world.gateway.directory / "progress.sqlite").unlink()
    world.gateway.start_forwarder()
    world.work(6)
    forwarding = world.gateway.forwarding
    assert forwarding is not None and forwarding.progress.note("spool_damaged") == "1"
    world.check()


def test_a_ledger_made_anew_takes_in_what_was_copied_forward(world: World) -> None:
    stuck = stuck_one_copied_forward(world)
    world.gateway.kill_forwarder()
    (world.gateway.directory / "progress.sqlite").unlink()
    layout = SpoolLayout(world.gateway.directory)
    torn = layout.remnant(stuck).with_name("half.rec.tmp")
    torn.write_bytes(b"what a kill left of another")
    world.gateway.disk.make_file(torn)
    world.gateway.start_forwarder()
    assert not torn.exists()
    world.heal_and_drain()
    assert stuck in world.bucket.members()
