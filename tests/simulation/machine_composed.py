"""Rules of several steps each: orders of events that single rules meet seldom.

Invariant: what is spoiled is told to the world, so that no claim is made for it; only segments that
are sealed are spoiled, since the end of the last one after a power loss is anybody's guess.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from edge_gateway.spool import FileSystem
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.segment import FoundRecord, SegmentFile
from tests.simulation.corner_steps import delivery_in, records_of, set_aside, spoil
from tests.simulation.world import World

STUDIES = st.integers(1, 3)
PLACES = st.integers(0, 30)


class ComposedRules(RuleBasedStateMachine):
    """`world` is made by the machine that inherits from this."""

    world: World

    @rule(study=STUDIES, place=PLACES, is_sent=st.booleans())
    def body_rots_in_a_full_segment(self, study: int, place: int, is_sent: bool) -> None:
        """A study fills a segment, and one body of it rots, before or after it is sent."""
        world = self.world
        if not is_sent:
            world.bus.down_until = world.clock.monotonic() + 2.0
        world.send_study(study, [7_500] * 8)
        world.work(2)
        bodies = [found for number in _sealed(world) for found in _bodies(world, number)]
        if not bodies:
            return
        number, record = bodies[-1 - place % len(bodies)]
        set_aside(world, *delivery_in(record))
        middle = record.head.body_offset_bytes + record.head.body_bytes // 2
        spoil(world, number, record.offset_bytes + middle)

    @rule(study=STUDIES, days=st.integers(2, 4))
    def refused_one_outlives_its_segment(self, study: int, days: int) -> None:
        """Its payload rots on the bus; around it studies come, are archived and let go."""
        world = self.world
        for delivery_id in world.send_study(study, [3_000]):
            world.publish_only(5)
            world.rot_payload_of(delivery_id)
        world.busy_days(study % 3 + 1, days)


def _sealed(world: World) -> list[int]:
    fs, layout = FileSystem(), SpoolLayout(world.gateway.directory)
    found = []
    for number in layout.segment_numbers(fs):
        segment = SegmentFile(fs, layout.segment(number))
        segment.close()
        if segment.footer is not None:
            found.append(number)
    return found


def _bodies(world: World, number: int) -> list[tuple[int, FoundRecord]]:
    records = records_of(world, number)
    return [(number, each) for each in records if delivery_in(each) and each.head.body_bytes]
