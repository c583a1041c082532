"""One gateway, a bus, a bucket and the archive's group, all in one thread and one clock.

Invariant: the same calls in the same order give the same run, byte for byte. `check` may be called
after any of them; `heal_and_drain` ends every fault and must find nothing left to do.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

from contracts import topics
from contracts.events import (
    GatewayRequest,
    InstanceReceived,
    RequestKind,
)
from contracts.failures import PoisonError
from edge_gateway.centre import PUBLISHED_TOPICS
from tests.simulation.archive import SimulatedArchive
from tests.simulation.bus import SimulatedBus
from tests.simulation.centre import Centre
from tests.simulation.clock import SimulatedClock
from tests.simulation.gateway import SimulatedGateway
from tests.simulation.instances import History, Instance
from tests.simulation.ledger_truth import OnBus, require_ledger
from tests.simulation.limits import GATEWAY_ID, HOLD_S, LEDGER
from tests.simulation.seams import seams
from tests.simulation.stepped import (
    CountedIds,
    Replacements,
    quiet_logs,
    replaced,
)
from tests.simulation.store import NEVER_REFUSED_BYTES, MemoryStore
from tests.simulation.truth import (
    Bucket,
    CommitWatch,
    event_in,
    in_spool,
    receipts_told,
    refused_ever,
    require,
    require_nothing_lost,
    require_order,
    require_single_rows,
)

_IN_MEMORY = Path("/dev/shm")
DRAIN_ROUNDS_MAX = 150
# A round of the drain lets so much time pass: back-offs end at 10 s.
DRAIN_ROUND_S = 1.0
_REFUSED_STATES = ("refused",)


class World:
    """Everything there is. `close` removes its directory."""

    def __init__(self, planted: Replacements = (), *, has_priorities: bool = False) -> None:
        parent = _IN_MEMORY if _IN_MEMORY.is_dir() else None
        self._root = Path(tempfile.mkdtemp(prefix="hilum-simulation-", dir=parent))
        self.clock = SimulatedClock()
        self.history = History()
        self.bus = SimulatedBus(self.clock)
        self._held = ExitStack()
        self._held.callback(shutil.rmtree, self._root, ignore_errors=True)
        self._held.enter_context(quiet_logs())
        self._held.enter_context(replaced([*seams(self.clock, self.bus), *planted]))
        self.store = MemoryStore("hilum", self.clock)
        self.bucket = Bucket(self.store)
        self.gateway = SimulatedGateway(self._root / "spool", self.bus, self.clock, self.history)
        self.gateway.has_priorities = has_priorities
        self.archive = SimulatedArchive(self._root, self.bus, self.store, self.clock)
        self.archive.group.on_commit = CommitWatch(self.bus, self.bucket).see
        self.centre = Centre(self.bus, self.clock)
        self._ids = CountedIds()
        self._numbers = 0
        self._associations = 0
        # Deliveries whose bytes the simulation spoiled in the spool: nobody can save those.
        self.rotten: set[str] = set()
        self.set_aside: set[str] = set()
        self._released: set[str] = set()
        self.gateway.start_receiver()
        self.gateway.start_forwarder()
        self.archive.start_member()

    def close(self) -> None:
        self.gateway.kill_forwarder()
        self.gateway.kill_receiver()
        for member in self.archive.members:
            member.writer.close()
        self._held.close()

    # -- what modalities do

    def send_study(
        self,
        study: int,
        sizes: Sequence[int],
        *,
        is_closed: bool = True,
        faulty: str | None = None,
        filler: bytes = b"",
        pause_s: float = 0.02,
    ) -> list[str]:
        """One association that stores instances of one study; the delivery ids answered 0x0000."""
        self._associations += 1
        association_id = f"association-{self._associations}"
        self.gateway.open_association(association_id)
        process = self.gateway.receiving
        stored: list[str] = []
        for size_bytes in sizes:
            if self.gateway.receiving is not process:
                return stored  # the association ended with its process
            self._numbers += 1
            delivery_id = self._ids.mint()
            instance = Instance(
                delivery_id, association_id, study, self._numbers, size_bytes, faulty, filler
            )
            if self.gateway.store(instance):
                stored.append(delivery_id)
            self.clock.pass_time(pause_s)
        if is_closed and self.gateway.receiving is process:
            self.gateway.close_association(association_id)
        return stored

    # -- what the centre asks

    def request(self, kind: RequestKind, delivery_ids: Sequence[str]) -> None:
        """An administrator's request to the gateway; nothing while the bus is down."""
        if self.bus.is_down or not delivery_ids:
            return
        if kind is RequestKind.RELEASE:
            self._released.update(delivery_ids)
        asked = GatewayRequest(
            GATEWAY_ID, kind, tuple(delivery_ids), "simulation", datetime(2026, 3, 1, tzinfo=UTC)
        )
        self.centre.publisher.publish_event(asked, GATEWAY_ID.encode(), f"{kind}/{delivery_ids[0]}")
        self.bus.work()

    def rot_payload_of(self, delivery_id: str) -> bool:
        """A byte of its payload changes on the bus; whether it was there."""
        for event in reversed(self.received()):
            if event.delivery_id == delivery_id and event.payload_offsets:
                log = self.bus.log(topics.PAYLOAD.name, event.payload_partition or 0)
                return self.bus.rot_payload(log, event.payload_offsets[0])
        return False

    # -- time

    def work(self, rounds: int = 1) -> None:
        """Everybody who is up works, nothing else happens."""
        for _ in range(rounds):
            self.gateway.let_receiver_work()
            self.gateway.forward(2)
            self.bus.work()
            for place in range(len(self.archive.members)):
                self.archive.step(place)

    def publish_only(self, rounds: int) -> None:
        """Gateway and broker work, the archive does not; the last word is the gateway's."""
        for _ in range(rounds):
            self.gateway.let_receiver_work()
            self.bus.work()
            self.gateway.forward(1)

    def busy_days(self, study: int, count: int) -> None:
        """Studies come and are archived, so that segments fill and become free."""
        for _ in range(count):
            self.send_study(study, [7_500] * 5)
            self.work(6)
        self.clock.pass_time(HOLD_S + 2 * 3_600.0)
        self.work(2)
        self.clock.pass_time(2.0)
        self.work(1)

    def quiet_day(self) -> None:
        """All that can be delivered is, and the hold time ends: segments become free."""
        self.work(8)
        self.clock.pass_time(HOLD_S + 61.0)
        self.work(3)
        self.clock.pass_time(2.0)
        self.work(1)

    # -- what must hold

    def check(self) -> None:
        """The invariants that hold at any moment. I1 while the spool can be read."""
        archived = {**self._given_up(), **self.bucket.members()}
        waiting = {sent.instance.delivery_id for sent in self.history.acknowledged()}
        if self.gateway.receiving is not None and not waiting <= archived.keys():
            spooled = in_spool(self.gateway.directory)
            self._require_nothing_lost(archived, spooled)
        require_order(self.history, self.bus, self.set_aside)
        require_single_rows(self.bus, self.bucket)
        if self.gateway.forwarding is not None:
            require_ledger(self.gateway.forwarding.progress, self.history, archived, self._on_bus())

    def _given_up(self) -> dict[str, str]:
        """What the archive refused and a person then released: its bytes may go."""
        ids = self._released & refused_ever(self.bus) if self._released else ()
        return {delivery_id: self.history.sent[delivery_id].content_sha256 for delivery_id in ids}

    def _require_nothing_lost(self, archived: dict[str, str], spooled: dict[str, str]) -> None:
        known = {**spooled}
        for delivery_id in self.rotten:
            known.setdefault(delivery_id, self.history.sent[delivery_id].content_sha256)
        require_nothing_lost(self.history, archived, known)

    def _on_bus(self) -> OnBus:
        ids = [self.bus.topic_id(name) for name in PUBLISHED_TOPICS]
        here = "/".join([self.bus.cluster_id(), *ids])
        return OnBus(here, frozenset(event.delivery_id for event in self.received()))

    def received(self) -> list[InstanceReceived]:
        """The events that are on the bus now; what is none is left out."""
        found = []
        for record in self.bus.events(InstanceReceived):
            with suppress(PoisonError):
                found.append(event_in(record.value, InstanceReceived))
        return found

    # -- the end

    def heal(self) -> None:
        """Every fault ends, and what was down is started."""
        self.bus.down_until = self.bus.held_until = 0.0
        self.bus.event_bytes_max = topics.EVENT_REQUEST_BYTES_MAX
        self.store.refusals = self.store.lost_answers = 0
        self.store.refused_bytes_min = NEVER_REFUSED_BYTES
        self.gateway.heal()
        while not self.archive.members:
            self.archive.start_member()

    def heal_and_drain(self) -> None:
        """I10: after the faults all is archived or refused by name, and nothing is left to do."""
        self.heal()
        self.check()
        self._drain(self._is_drained)
        self.check()
        refused = self.ledger_ids(_REFUSED_STATES)
        if refused:
            self.request(RequestKind.REPUBLISH, refused)
            self._drain(lambda: self._is_drained() and not self.ledger_ids(_REFUSED_STATES))
            self.check()
        missing = self._never_receipted()
        require(not missing, f"no receipt was published for {sorted(missing)}")

    def _never_receipted(self) -> set[str]:
        acknowledged = {sent.instance.delivery_id for sent in self.history.acknowledged()}
        return acknowledged - receipts_told(self.bus)

    def _drain(self, is_done: Callable[[], bool]) -> None:
        for _ in range(DRAIN_ROUNDS_MAX):
            self.work()
            if is_done():
                return
            self.clock.pass_time(DRAIN_ROUND_S)
        require(False, f"I10: not drained: {self._left()}")

    def _is_drained(self) -> bool:
        open_rows = set(self.ledger_ids(("spooled", "published"))) - self.rotten
        forwarding = self.gateway.forwarding
        return (
            not open_rows
            and forwarding is not None
            and forwarding.pipeline.is_idle
            and forwarding.receipts.unpublished() == 0
            and self.archive.group.lag() == 0
        )

    def ledger_ids(self, states: Sequence[str]) -> list[str]:
        """The deliveries that the ledger has in these states."""
        forwarding = self.gateway.forwarding
        if forwarding is None:
            return []
        marks = ", ".join("?" for _ in states)
        rows = forwarding.progress.connection.execute(
            f"SELECT delivery_id FROM delivery WHERE state IN ({marks}) ORDER BY sequence",
            tuple(states),
        )
        return [str(row[0]) for row in rows]

    def _left(self) -> str:
        forwarding = self.gateway.forwarding
        if forwarding is None:
            return f"no forwarder on {LEDGER}"
        states = {t.state: t.deliveries for t in forwarding.progress.totals() if t.deliveries}
        unpublished = forwarding.receipts.unpublished()
        return f"{states}, {unpublished} receipts unpublished, lag {self.archive.group.lag()}"
