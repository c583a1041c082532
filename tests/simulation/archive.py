"""The archive's side: members of object-archive's group, each the product's runner and writer.

Invariant: a member that dies takes everything with it but what is in the store, on the bus and
committed. Must not help a member to decide anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import consumers.runner
from consumers.object_archive import SPEC
from consumers.runner import Runner
from consumers.spec import Writer
from contracts.envelope import Origin
from infra.clickhouse import ClickHouseDatabase
from infra.connect import Engines
from infra.local_stack import local_stack_tree
from infra.seams import StoreSite
from infra.settings import ConsumerSettings, Settings, validate
from infra.telemetry import Metrics
from tests.simulation.bus import SimulatedBus, SimulatedPublisher
from tests.simulation.bus_reading import SimulatedPayloadReader
from tests.simulation.clock import SimulatedClock
from tests.simulation.disk import Killed
from tests.simulation.group import SimulatedGroup, SimulatedMember
from tests.simulation.stepped import replaced
from tests.simulation.store import MemoryStore

KIB = 1024
BATCH = ConsumerSettings(
    batch_records_max=6,
    batch_bytes_max=20 * KIB,
    batch_age_ms_max=300,
    # Larger packs go by the scratch disk.
    memory_bytes_max=48 * KIB,
    transfers_at_once=1,
)
MEMBERS_MAX = 2


@dataclass
class Member:
    """One process of the group."""

    runner: Runner
    writer: Writer
    consumer: SimulatedMember
    publisher: SimulatedPublisher


class SimulatedArchive:
    """`members` may be none; `step` lets one of them do a batch."""

    def __init__(
        self, directory: Path, bus: SimulatedBus, store: MemoryStore, clock: SimulatedClock
    ) -> None:
        self._directory = directory
        self._bus = bus
        self._store = store
        self._clock = clock
        tree = local_stack_tree(directory, 0)
        self._settings: Settings = validate(
            {**tree, "consumers": {SPEC.name: BATCH.model_dump()}}, "the simulation"
        )
        self.group = SimulatedGroup(bus, SPEC.name, [topic.name for topic in SPEC.inputs])
        self.members: list[Member] = []
        self._started = 0

    def start_member(self) -> None:
        if len(self.members) >= MEMBERS_MAX:
            return
        runner, consumer, publisher = self._runner(threading.Event())
        self.members.append(Member(runner, runner.begin(), consumer, publisher))

    def run_until(self, is_done: Callable[[], bool]) -> None:
        """A member from its start to its end, as its process runs it. Raises FatalError."""
        stop = threading.Event()
        runner, consumer, _ = self._runner(stop)
        consumer.at_each_poll = lambda: stop.set() if is_done() else None
        runner.run()

    def _runner(self, stop: threading.Event) -> tuple[Runner, SimulatedMember, SimulatedPublisher]:
        self._started += 1
        engines = self._engines(f"{SPEC.name}-{self._started}")
        consumer = SimulatedMember(self.group)
        with replaced([(consumers.runner, "GroupConsumer", lambda *given, **named: consumer)]):
            runner = Runner(SPEC, engines, BATCH, stop)
        publisher = engines.publisher
        assert isinstance(publisher, SimulatedPublisher)
        return runner, consumer, publisher

    def stop_member(self, place: int) -> None:
        """Leaves the group as asked to, with nothing in hand."""
        if self.members:
            member = self.members.pop(place % len(self.members))
            member.writer.close()
            member.consumer.close()
            member.publisher.close()

    def step(self, place: int = 0, before: tuple[str, Callable[[], None]] | None = None) -> None:
        """One batch of a member. `before`: what happens once, before a call of its consumer."""
        if not self.members:
            return
        member = self.members[place % len(self.members)]
        if before is not None:
            member.consumer.hooks = dict([before])
        try:
            member.runner.step(member.writer)
        except Killed:
            self.kill(member)
        finally:
            member.consumer.hooks = {}
            member.consumer.lost_answers = 0

    def kill(self, member: Member) -> None:
        """The group misses it at once; its session's length would be only time."""
        member.publisher.close()
        if member in self.members:
            self.members.remove(member)
        self.group.leave(member.consumer)

    def _engines(self, name: str) -> Engines:
        scratch = self._directory / name
        scratch.mkdir(parents=True, exist_ok=True)
        site = self._settings.primary
        primary = StoreSite(site.name, self._store, ClickHouseDatabase(site.clickhouse))
        return Engines(
            settings=self._settings,
            clock=self._clock,
            metrics=Metrics(),
            primary=primary,
            dr=primary,
            publisher=SimulatedPublisher(self._bus, Origin(f"/hilum/primary/{name}")),
            payload_reader=SimulatedPayloadReader(self._bus),
            scratch_directory=scratch,
        )
