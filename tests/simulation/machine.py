"""The faults and the work of a gateway and its archive, as rules that hypothesis puts in any order.

Invariant: what must hold is checked after every rule, and after the last one everything heals and
drains. A rule does one thing that can happen; it never asks whether the product copes.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence

from hypothesis import strategies as st
from hypothesis.stateful import (
    invariant,
    precondition,
    rule,
)

from contracts.events import RequestKind
from contracts.topics import CUSTODY, GATEWAY_REQUEST, RECEIVED, Topic
from tests.simulation.disk import Killed
from tests.simulation.machine_composed import ComposedRules
from tests.simulation.stepped import Replacements
from tests.simulation.world import World

# Inline, inline, inline in a segment's quarter, and in a file of its own.
SIZES = st.lists(st.sampled_from((700, 3_000, 7_500, 12_000)), min_size=1, max_size=6)
STUDIES = st.integers(1, 3)
SEEDS = st.integers(0, 999)
CALLS = st.integers(0, 40)
PLACES = st.integers(0, 1)
NAMES = st.integers(0, 60)


class Delivery(ComposedRules):
    """One world from its first start on."""

    planted: Replacements = ()

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.planted)

    def teardown(self) -> None:
        try:
            # After a rule that failed, its own fault is what counts.
            if sys.exc_info()[0] is None:
                self.world.heal_and_drain()
        finally:
            self.world.close()

    @invariant()
    def holds(self) -> None:
        self.world.check()

    # -- work

    @rule(study=STUDIES, sizes=SIZES, is_closed=st.booleans())
    def send_study(self, study: int, sizes: Sequence[int], is_closed: bool) -> None:
        self.world.send_study(study, sizes, is_closed=is_closed)

    @rule(study=STUDIES, size=st.sampled_from((700, 12_000)))
    def send_faulty(self, study: int, size: int) -> None:
        self.world.send_study(study, [size], faulty="uid_mismatch")

    @rule(rounds=st.integers(1, 4))
    def work(self, rounds: int) -> None:
        self.world.work(rounds)

    @rule(rounds=st.integers(1, 6))
    def forward(self, rounds: int) -> None:
        self.world.gateway.forward(rounds)

    @rule()
    def receiver_threads(self) -> None:
        self.world.gateway.let_receiver_work()

    @rule(place=PLACES)
    def archive(self, place: int) -> None:
        self.world.archive.step(place)

    @rule(rounds=st.integers(1, 6))
    def publish_only(self, rounds: int) -> None:
        self.world.publish_only(rounds)

    @rule(study=STUDIES, count=st.integers(1, 4))
    def busy_days(self, study: int, count: int) -> None:
        self.world.busy_days(study, count)

    @rule()
    def quiet_day(self) -> None:
        self.world.quiet_day()

    @rule(seconds=st.sampled_from((0.3, 1.1, 11.0, 61.0, 301.0, 4_000.0, 50_000.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.pass_time(seconds)

    @rule(seconds=st.sampled_from((-3_600.0, 3_600.0)))
    def wall_clock_is_set(self, seconds: float) -> None:
        self.world.clock.step_wall_clock(seconds)

    # -- the broker

    @rule(records=st.integers(1, 8))
    def broker_acknowledges(self, records: int) -> None:
        self.world.bus.work(records)

    @rule(records=st.integers(1, 8))
    def broker_appends_without_telling(self, records: int) -> None:
        self.world.bus.append_without_telling(records)

    @rule(appended=st.integers(0, 8), down_s=st.sampled_from((0.0, 2.0, 40.0)))
    def broker_breaks_off(self, appended: int, down_s: float) -> None:
        self.world.bus.fail(appended)
        self.world.bus.down_until = self.world.clock.monotonic() + down_s

    @rule(seconds=st.sampled_from((0.2, 5.0, 45.0)))
    def broker_is_slow(self, seconds: float) -> None:
        self.world.bus.held_until = self.world.clock.monotonic() + seconds

    @rule(new_cluster=st.booleans())
    def broker_loses_topics(self, new_cluster: bool) -> None:
        self.world.bus.lose_topics(new_cluster)

    @rule()
    def payload_expires(self) -> None:
        self.world.bus.expire_payload()

    @rule(study=STUDIES, rounds=st.integers(2, 7), is_told=st.booleans())
    def payload_expires_unread(self, study: int, rounds: int, is_told: bool) -> None:
        """The archive is behind when retention takes the payload of what was just sent."""
        self.world.send_study(study, [700, 3_000])
        self.world.publish_only(rounds)
        if not is_told:
            self.world.bus.append_without_telling(8)
        self.world.bus.expire_payload()
        for _ in range(3):
            self.world.archive.step()

    @rule(study=STUDIES, rounds=st.integers(3, 7))
    def payload_rots_unread(self, study: int, rounds: int) -> None:
        """What the archive then refuses stays in the spool, whatever becomes of its segment."""
        for delivery_id in self.world.send_study(study, [3_000]):
            self.world.publish_only(rounds)
            self.world.rot_payload_of(delivery_id)

    @rule(name=NAMES)
    def payload_rots(self, name: int) -> None:
        delivery_id = self._one_sent(name)
        if delivery_id:
            self.world.rot_payload_of(delivery_id)

    @rule(name=NAMES, kind=st.sampled_from(RequestKind))
    def administrator_asks(self, name: int, kind: RequestKind) -> None:
        delivery_id = self._one_sent(name)
        if delivery_id:
            self.world.request(kind, [delivery_id])

    @rule(study=STUDIES)
    def custody_of_other_bytes_is_told(self, study: int) -> None:
        for delivery_id in self.world.send_study(study, [700]):
            self.world.gateway.forward(2)
            self.world.centre.say_custody_of_other_bytes(delivery_id)
            self.world.gateway.forward(2)

    @rule(topic=st.sampled_from((RECEIVED, CUSTODY, GATEWAY_REQUEST)))
    def garbage_is_published(self, topic: Topic) -> None:
        self.world.centre.carry_garbage(topic)

    def _one_sent(self, name: int) -> str:
        sent = list(self.world.history.sent)
        return sent[name % len(sent)] if sent else ""

    # -- the archive

    @rule()
    def member_starts(self) -> None:
        self.world.archive.start_member()

    @rule(place=PLACES)
    def member_stops(self, place: int) -> None:
        self.world.archive.stop_member(place)

    @rule(place=PLACES, call=st.sampled_from(("poll", "commit")))
    def member_is_killed(self, place: int, call: str) -> None:
        self.world.archive.step(place, (call, _kill))

    @rule(place=PLACES, call=st.sampled_from(("poll", "commit")))
    def group_is_rebalanced(self, place: int, call: str) -> None:
        self.world.archive.step(place, (call, self.world.archive.group.rebalance))

    @precondition(lambda self: len(self.world.archive.members) > 1)
    @rule(place=PLACES)
    def other_member_is_first(self, place: int) -> None:
        """All is given to the other one, which delivers it before this one commits."""
        self.world.archive.step(place, ("commit", self._overtake(place)))

    def _overtake(self, place: int) -> Callable[[], None]:
        archive = self.world.archive

        def take_over() -> None:
            archive.group.rebalance()
            for _ in range(3):
                archive.step(place + 1)

        return take_over

    @rule(place=PLACES)
    def commit_is_not_answered(self, place: int) -> None:
        members = self.world.archive.members
        if members:
            members[place % len(members)].consumer.lost_answers = 1
        self.world.archive.step(place)

    @rule(refusals=st.integers(0, 3), lost_answers=st.integers(0, 2))
    def store_fails(self, refusals: int, lost_answers: int) -> None:
        self.world.store.refusals, self.world.store.lost_answers = refusals, lost_answers

    @rule(size_bytes=st.sampled_from((9_000, 1 << 40)))
    def store_takes_less(self, size_bytes: int) -> None:
        self.world.store.refused_bytes_min = size_bytes

    # -- the gateway

    @rule()
    def receiver_is_killed(self) -> None:
        self.world.gateway.kill_receiver()
        self.world.gateway.start_receiver()

    @rule()
    def forwarder_is_killed(self) -> None:
        self.world.gateway.kill_forwarder()
        self.world.gateway.start_forwarder()

    @rule(calls=CALLS, study=STUDIES, sizes=SIZES)
    def receiver_is_killed_while_sending(
        self, calls: int, study: int, sizes: Sequence[int]
    ) -> None:
        self._end_soon(calls, None)
        self.world.send_study(study, sizes)
        self._restart()

    @rule(calls=CALLS)
    def forwarder_is_killed_at_work(self, calls: int) -> None:
        self._end_soon(None, calls)
        self.world.work(4)
        self._restart()

    @rule(power=SEEDS)
    def power_is_lost(self, power: int) -> None:
        self.world.gateway.lose_power(power)
        self._restart()

    @rule(calls=CALLS, power=SEEDS, study=STUDIES, sizes=SIZES)
    def power_is_lost_while_sending(
        self, calls: int, power: int, study: int, sizes: Sequence[int]
    ) -> None:
        self._end_soon(calls, None)
        self.world.send_study(study, sizes)
        self.world.gateway.lose_power(power)
        self._restart()

    @rule(calls=CALLS, power=SEEDS)
    def power_is_lost_at_work(self, calls: int, power: int) -> None:
        self._end_soon(None, calls)
        self.world.work(4)
        self.world.gateway.lose_power(power)
        self._restart()

    @rule(room_bytes=st.sampled_from((0, 20_000, 100_000, 1 << 30)))
    def disk_has_room_for(self, room_bytes: int) -> None:
        self.world.gateway.disk.room_bytes = room_bytes

    @rule(study=STUDIES, sizes=SIZES)
    def disk_breaks_while_sending(self, study: int, sizes: Sequence[int]) -> None:
        receiving = self.world.gateway.receiving
        if receiving is not None:
            receiving.fs.flush_error = errno.EIO
        self.world.send_study(study, sizes)

    def _end_soon(self, receiver: int | None, forwarder: int | None) -> None:
        gateway = self.world.gateway
        if gateway.receiving is not None:
            gateway.receiving.fs.ends_after = receiver
        if gateway.forwarding is not None:
            gateway.forwarding.fs.ends_after = forwarder

    def _restart(self) -> None:
        self._end_soon(None, None)
        self.world.gateway.start_receiver()
        self.world.gateway.start_forwarder()


def _kill() -> None:
    raise Killed
