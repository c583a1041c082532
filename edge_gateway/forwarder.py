"""The forwarder's main loop: spool → ledger → bus, and back what the centre says.

Invariant: one thread owns ledger and spool; each duty moves as far as it can without waiting for
another; what the centre said counts together with its offset or not at all. A living elder twin
stops everything that goes out. Must not stop for a fault of Kafka or of a single delivery.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from contracts import codec
from contracts.events import GatewayState, RequestOffset
from contracts.failures import PoisonError
from contracts.topics import CUSTODY, GATEWAY_REQUEST, GATEWAY_STATE
from edge_gateway.bandwidth import Bandwidth, told
from edge_gateway.centre import (
    CaughtUp,
    CentreListener,
    Connected,
    Heard,
    InboxItem,
    NewLog,
)
from edge_gateway.centre_offsets import offset_note, positions_in
from edge_gateway.commitment.desk import CommitmentDesk
from edge_gateway.commitment.reporter import Reporter
from edge_gateway.custody import CustodyDesk
from edge_gateway.drained import DrainedSpools
from edge_gateway.forward_health import ForwardHealth
from edge_gateway.gateway_requests import RequestDesk
from edge_gateway.level_desk import LevelDesk
from edge_gateway.progress import BATCH_AGE_S, Progress
from edge_gateway.publish import Pipeline
from edge_gateway.quota_desk import QuotaDesk
from edge_gateway.receipts import ReceiptPublisher
from edge_gateway.retention import Retention
from edge_gateway.spool.family import FIRST_WORKER
from edge_gateway.spool_feeds import SpoolFeeds
from edge_gateway.state import Moment, StateReporter
from edge_gateway.twin import TwinWatch
from infra.clock import Clock
from infra.seams import ConsumedRecord
from infra.telemetry import Metrics, logger

# Waits between two rounds: for an acknowledgement (a producer lingers 2 ms) or for new records.
IN_FLIGHT_WAIT_S = 0.008
IDLE_WAIT_S = 0.02
INBOX_ITEMS_PER_ROUND = 16
REPUBLISH_CHECK_S = 5.0
GAUGES_INTERVAL_S = 1.0
# What is in flight when the process is asked to stop may still be acknowledged.
LANDING_S = 3.0
_PROBLEMS_TOLD = 3
_LOG = logger("forwarder")


@dataclass(frozen=True, slots=True)
class ForwarderParts:
    """The duties, made by `edge_gateway.forward`."""

    progress: Progress
    feed: SpoolFeeds
    listener: CentreListener
    custody: CustodyDesk
    requests: RequestDesk
    pipeline: Pipeline
    bandwidth: Bandwidth
    receipts: ReceiptPublisher
    retention: Retention
    state: StateReporter
    twin: TwinWatch
    health: ForwardHealth
    clock: Clock
    metrics: Metrics
    # None where nobody may ask for storage commitment.
    commitment: CommitmentDesk | None = None
    reporter: Reporter | None = None
    # None where there is one spool alone, as in the simulation.
    drained: DrainedSpools | None = None
    # None where every AE title is answered for the gateway's own disk.
    levels: LevelDesk | None = None
    # None where no AE title has a quota.
    quotas: QuotaDesk | None = None


class Forwarder:
    """Runs until told to stop. `republish_after`: half of what the payload topic keeps."""

    def __init__(self, parts: ForwarderParts, gateway_id: str, republish_after: timedelta) -> None:
        self._parts = parts
        self._gateway_id = gateway_id
        self._republish_after = republish_after
        self._published_to = ""
        self._has_heard_all = False
        self._committed_at = 0.0
        self._republish_checked_at = 0.0
        self._shown_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Works until `stop`; on return the ledger is written. Raises OSError, sqlite3.Error."""
        parts = self._parts
        self.begin()
        parts.listener.start()
        if parts.reporter is not None:
            parts.reporter.start()
        try:
            while not stop.is_set():
                if not self.step():
                    is_idle = parts.pipeline.is_idle
                    parts.clock.wait(stop, IDLE_WAIT_S if is_idle else IN_FLIGHT_WAIT_S)
            self._land()
        finally:
            parts.listener.stop()
            if parts.reporter is not None:
                parts.reporter.stop()
            if parts.levels is not None:
                parts.levels.close()
            parts.pipeline.abandon()
            parts.progress.commit()

    def begin(self) -> None:
        """Goes to where the ledger ends; before the first `step`."""
        self._parts.feed.begin()
        self._parts.retention.begin()

    def step(self) -> bool:
        """Every duty once, none of which waits; whether there is more to do at once."""
        parts = self._parts
        looked_at = parts.clock.now()
        # What comes into the inbox after the look at the spool may speak of what came there after.
        heard = parts.listener.inbox.qsize()
        moved = parts.feed.step()
        # First everything that is in the spool, then what is said about it: a fresh ledger must
        # know a delivery before its custody comes by.
        if parts.feed.has_caught_up:
            moved |= self._hear(heard)
            if parts.commitment is not None:
                moved |= parts.commitment.step()
        if self._may_speak():
            moved |= parts.pipeline.step(self._published_to)
            moved |= parts.receipts.step()
            self._republish_old()
            self._tell_state(looked_at)
        if parts.levels is not None:
            moved |= parts.levels.step()
        if parts.quotas is not None:
            # A gateway with quotas has one worker.
            parts.quotas.step(parts.feed.position(FIRST_WORKER))
        parts.retention.step(parts.feed.is_read)
        if parts.drained is not None:
            parts.drained.step()
        self._show()
        self._commit_batch()
        return moved

    def _may_speak(self) -> bool:
        return self._has_heard_all and not self._parts.twin.elder_alive

    # -- what the centre says

    def _hear(self, items: int) -> bool:
        moved = False
        for _ in range(min(items, INBOX_ITEMS_PER_ROUND)):
            try:
                item = self._parts.listener.inbox.get_nowait()
            except queue.Empty:
                break
            self._take(item)
            moved = True
        return moved

    def _take(self, item: InboxItem) -> None:
        match item:
            case Connected(published_to, too_few_copies):
                self._connected(published_to)
                if self._parts.levels is not None:
                    self._parts.levels.note_copies(too_few_copies)
            case CaughtUp():
                self._has_heard_all = True
            case NewLog(topic):
                if topic == GATEWAY_STATE.name:
                    self._parts.twin.restart()
                    self._parts.health.clear("twin")
            case Heard(topic, records, after):
                for record in records:
                    self._apply(topic, record)
                text = orjson.dumps((after.log, after.partition, after.offset)).decode()
                self._parts.progress.set_note(offset_note(topic), text)

    def _connected(self, published_to: str) -> None:
        self._published_to = published_to
        # Whatever failed before: now is the time to try again.
        self._parts.pipeline.retry_now()
        self._parts.receipts.retry_now()
        again = self._parts.progress.spool_again_unless_at(published_to)
        if again:
            _LOG.warning("published to logs that are gone, publishing again", deliveries=again)
            self._parts.metrics.count("hilum_forward_republished_total", again, cause="other_log")

    def _apply(self, topic: str, record: ConsumedRecord) -> None:
        if topic == CUSTODY.name:
            self._parts.custody.apply(record)
        elif topic == GATEWAY_REQUEST.name:
            obeyed = self._parts.requests.apply(record)
            self._parts.retention.remove(obeyed.released)
            self._parts.pipeline.recall(obeyed.again)
        elif topic == GATEWAY_STATE.name:
            self._watch_for_twin(record)

    def _watch_for_twin(self, record: ConsumedRecord) -> None:
        try:
            state = codec.decode(record.value or b"", GatewayState)
        except PoisonError:
            return
        if state.gateway_id != self._gateway_id:
            return
        twin = self._parts.twin
        twin.see(state.boot_id, record.offset)
        if twin.elder_alive:
            self._parts.health.impede(
                "twin",
                "another living process has this gateway_id and was first (a copied spool?):"
                " not publishing; give this gateway a spool of its own",
            )

    # -- what goes out

    def _republish_old(self) -> None:
        now = self._parts.clock.monotonic()
        if now - self._republish_checked_at < REPUBLISH_CHECK_S:
            return
        self._republish_checked_at = now
        before = self._parts.clock.now() - self._republish_after
        again = self._parts.progress.spool_again_published_before(before)
        if again:
            _LOG.warning("long unarchived, publishing again", deliveries=again)
            self._parts.metrics.count("hilum_forward_republished_total", again, cause="expiring")

    def _tell_state(self, looked_at: datetime) -> None:
        parts = self._parts
        if not parts.state.is_due():
            return
        after = positions_in(parts.progress).get(GATEWAY_REQUEST.name)
        done = () if after is None else (RequestOffset(after.partition, after.offset),)
        has_caught_up = parts.feed.has_caught_up
        parts.state.step(Moment(looked_at, has_caught_up, parts.retention.spool_bytes, done))

    # -- housekeeping

    def _show(self) -> None:
        parts = self._parts
        if parts.clock.monotonic() - self._shown_at < GAUGES_INTERVAL_S:
            return
        self._shown_at = parts.clock.monotonic()
        parts.state.show(parts.clock.now())
        if parts.reporter is not None and not parts.reporter.is_alive:
            parts.health.impede("commitment", "no commitment reports: restart the forwarder")
        parts.metrics.gauge("hilum_forward_in_flight_bytes", parts.pipeline.in_flight_bytes)
        limit = parts.bandwidth.limit_bytes_per_s
        parts.health.note_aside("bandwidth", told(limit))
        if limit is not None:
            parts.metrics.gauge("hilum_forward_bandwidth_limit_bytes_per_s", limit)
        problems = parts.progress.problems(_PROBLEMS_TOLD)
        aside = "; ".join(f"{delivery_id}: {problem}" for delivery_id, problem in problems)
        parts.health.note_aside("set_aside", aside and f"set aside: {aside}")

    def _commit_batch(self) -> None:
        now = self._parts.clock.monotonic()
        if now - self._committed_at >= BATCH_AGE_S:
            self._committed_at = now
            self._parts.progress.commit()

    def _land(self) -> None:
        """Takes in what is acknowledged within LANDING_S; begins nothing new."""
        parts = self._parts
        end = parts.clock.monotonic() + LANDING_S
        never = threading.Event()
        while not parts.pipeline.is_idle and parts.clock.monotonic() < end:
            if not parts.pipeline.step(self._published_to, may_begin=False):
                parts.clock.wait(never, IN_FLIGHT_WAIT_S)
        parts.receipts.step(may_begin=False)
