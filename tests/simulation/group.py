"""A consumer group on the simulated bus: who has which partition, and what is committed.

Invariant: a commit counts only from a member of the present generation, for partitions that are
its own; what was revoked is never handed out nor committed by who had it. `test_bus_double` holds
`SimulatedMember` to `infra.group_consumer.GroupConsumer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from contracts import topics
from contracts.failures import RetryableError
from infra.group_consumer import RebalancedError
from infra.partitions import Partition, Span, require_history
from infra.seams import ConsumedRecord
from tests.simulation.bus import SimulatedBus


class SimulatedGroup:
    """The coordinator of one group. `on_commit` sees each commit before it counts."""

    def __init__(self, bus: SimulatedBus, name: str, inputs: Sequence[str]) -> None:
        self.bus = bus
        self.name = name
        self.inputs = tuple(inputs)
        self.generation = 0
        self.members: list[SimulatedMember] = []
        # partition → offset and the id of the topic that it belongs to
        self.committed: dict[Partition, tuple[int, str]] = {}
        self.on_commit: Callable[[Mapping[Partition, int]], None] = lambda offsets: None

    def partitions(self) -> list[Partition]:
        return [
            Partition(topic, number)
            for topic in self.inputs
            for number in range(topics.BY_NAME[topic].partitions)
        ]

    def share_of(self, member: SimulatedMember) -> set[Partition]:
        if member not in self.members:
            return set()
        place, count = self.members.index(member), len(self.members)
        return {p for i, p in enumerate(self.partitions()) if i % count == place}

    def join(self, member: SimulatedMember) -> None:
        self.members.append(member)
        self.generation += 1

    def leave(self, member: SimulatedMember) -> None:
        if member in self.members:
            self.members.remove(member)
            self.generation += 1

    def rebalance(self) -> None:
        """Shares are given out anew, in another order."""
        self.generation += 1
        self.members.reverse()

    def lag(self) -> int:
        """Records that are not committed."""
        return sum(
            self.bus.logs[p].end - self.start_of(p) for p in self.partitions() if p in self.bus.logs
        )

    def start_of(self, partition: Partition) -> int:
        offset, topic_id = self.committed.get(partition, (0, ""))
        known = topic_id == self.bus.topic_id(partition.topic)
        return offset if known else self.bus.logs[partition].start


class SimulatedMember:
    """`infra.group_consumer.GroupConsumer` on a `SimulatedGroup`."""

    def __init__(self, group: SimulatedGroup) -> None:
        self._group = group
        self._bus = group.bus
        self._generation = 0
        self._assigned: set[Partition] = set()
        self._paused: set[Partition] = set()
        self._positions: dict[Partition, int] = {}
        self._topic_ids: dict[str, str] = {}
        self._is_interrupted = False
        self._is_unresolved = True
        self._last: Partition | None = None
        # What happens at the next calls, by name of the call: a hook runs once, before it.
        self.hooks: dict[str, Callable[[], None]] = {}
        self.at_each_poll: Callable[[], None] = lambda: None
        # The next so many commits count, and their answers are lost.
        self.lost_answers = 0
        # Its connection hangs: nothing is handed out until it joins anew.
        self.is_stuck = False

    @property
    def has_joined(self) -> bool:
        return self in self._group.members and not self._is_unresolved

    def poll(self, timeout_ms: int, records_max: int) -> list[ConsumedRecord]:
        self.at_each_poll()
        self._run_hook("poll")
        if self not in self._group.members:
            self._bus.require_up(f"joining group {self._group.name}")
            self._group.join(self)
        if self._bus.is_down:
            self._bus.clock.pass_time(timeout_ms / 1000)
            return []
        if self._generation != self._group.generation or self._has_lost_place():
            self._is_unresolved = True
        if self._is_unresolved:
            self._resolve()
            return []
        records = [] if self.is_stuck else self._next(records_max)
        self._bus.clock.pass_time(0.001 if records else timeout_ms / 1000)
        return records

    def take_interruption(self) -> bool:
        interrupted, self._is_interrupted = self._is_interrupted, False
        return interrupted

    def pause(self) -> None:
        self._paused |= self._assigned

    def resume(self) -> None:
        self._paused.clear()

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        for partition, offset in offsets.items():
            if partition in self._assigned:
                self._positions[partition] = offset

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        self._run_hook("commit")
        mine = {p: offset for p, offset in offsets.items() if p in self._assigned}
        self._bus.require_up(f"committing as group {self._group.name}")
        if self._generation != self._group.generation:
            raise RebalancedError(f"committing as group {self._group.name}: an old generation")
        if all(self._topic_ids[p.topic] == self._bus.topic_id(p.topic) for p in mine):
            self._group.on_commit(mine)
        for partition, offset in mine.items():
            self._group.committed[partition] = (offset, self._topic_ids[partition.topic])
        if self.lost_answers:
            self.lost_answers -= 1
            raise RetryableError(f"committing as group {self._group.name}: no answer")

    def spans(self) -> dict[Partition, Span]:
        self._bus.require_up("asking for offsets")
        found = {topic: self._bus.topic_id(topic) for topic in self._group.inputs}
        self._is_unresolved |= found != self._topic_ids
        if not self.has_joined:
            return {}
        return {p: Span(self._positions[p], self._bus.logs[p].end) for p in sorted(self._assigned)}

    def uncommitted(self, spans: Mapping[Partition, Span]) -> dict[str, int]:
        lag = dict.fromkeys(self._group.inputs, 0)
        for partition, span in spans.items():
            lag[partition.topic] += max(0, span.end - self._group.start_of(partition))
        return lag

    def close(self) -> None:
        self._group.leave(self)
        self._is_interrupted = self._is_unresolved = True
        self.is_stuck = False

    def _resolve(self) -> None:
        """Positions from the commits, or from the start where the topic is another one."""
        self._generation = self._group.generation
        self._assigned = self._group.share_of(self)
        self._paused &= self._assigned
        self._topic_ids = {topic: self._bus.topic_id(topic) for topic in self._group.inputs}
        for partition in self._assigned:
            log, offset = self._bus.logs[partition], self._group.start_of(partition)
            require_history(self._group.name, partition, offset, range(log.start, log.end + 1))
            self._positions[partition] = offset
            self._group.committed[partition] = (offset, self._topic_ids[partition.topic])
        self._is_unresolved = False
        self._is_interrupted = True

    def _has_lost_place(self) -> bool:
        logs = self._bus.logs
        return any(self._positions[p] > logs[p].end for p in self._assigned)

    def _next(self, records_max: int) -> list[ConsumedRecord]:
        """Partitions take turns, each whole before the next, as fetched."""
        ready = sorted(self._assigned - self._paused)
        behind = [p for p in ready if self._last is not None and p > self._last]
        records: list[ConsumedRecord] = []
        for partition in [*behind, *(p for p in ready if p not in behind)]:
            log = self._bus.logs[partition]
            place = self._positions[partition] - log.start
            taken = log.records[place : place + records_max - len(records)]
            if taken:
                records += taken
                self._positions[partition] = taken[-1].offset + 1
                self._last = partition
            if len(records) >= records_max:
                break
        return records

    def _run_hook(self, name: str) -> None:
        hook = self.hooks.pop(name, None)
        if hook is not None:
            hook()
