"""What this gateway says of itself every few seconds (`imaging.gateway.state.v1`).

Invariant: `at` is from before the last look at the spool's end, so that a state newer than T with
no unpublished receipt proves that everything answered up to T has been told. Must not wait.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from contracts.events import GatewayState, RequestOffset
from contracts.failures import HilumError
from edge_gateway.forward_health import ForwardHealth
from edge_gateway.gateway_requests import RequestDesk
from edge_gateway.progress import Progress
from edge_gateway.progress_receipts import ReceiptLedger
from infra.clock import Clock
from infra.seams import PendingPublication, Publisher
from infra.telemetry import Metrics, logger

VERSION = "0.1.0"
_LOG = logger("state")


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What does not change while this process lives."""

    site: str
    gateway_id: str
    gateway_name: str
    boot_id: str
    spool_directory: Path
    spool_bytes_max: int


@dataclass(frozen=True, slots=True)
class Moment:
    """What the main loop knows at the time of a state.

    `looked_at` is from before the spool's end was looked for, `has_caught_up` whether it was
    reached.
    """

    looked_at: datetime
    has_caught_up: bool
    spool_bytes: int
    requests_done: tuple[RequestOffset, ...]


@dataclass(frozen=True, slots=True)
class StateParts:
    """Where the numbers come from, and the way out."""

    progress: Progress
    receipts: ReceiptLedger
    requests: RequestDesk
    health: ForwardHealth
    publisher: Publisher
    clock: Clock
    metrics: Metrics


class StateReporter:
    """Publishes the state at its interval, one record on its way at a time."""

    def __init__(self, facts: GatewayFacts, parts: StateParts, interval_s: float) -> None:
        self._facts = facts
        self._parts = parts
        self.interval_s = interval_s
        self._sent_at: float | None = None
        self._pending: PendingPublication | None = None

    def is_due(self) -> bool:
        """Whether the interval is over and the last record is not still on its way."""
        now = self._parts.clock.monotonic()
        if self._pending is not None and not self._pending.done():
            return False
        return self._sent_at is None or now - self._sent_at >= self.interval_s

    def step(self, moment: Moment) -> None:
        """Publishes the state as of `moment`; a failure is told and tried again at the interval."""
        facts, parts = self._facts, self._parts
        self._sent_at = parts.clock.monotonic()
        try:
            if self._pending is not None:
                self._pending.result(0)
            state = self._state(moment)
            self._pending = parts.publisher.publish_event(
                state, facts.gateway_id.encode(), f"{facts.boot_id}/{state.at.isoformat()}"
            )
            parts.health.clear("state")
        except HilumError as failure:
            self._pending = None
            parts.health.impede("state", f"not publishing the state: {failure}")
            _LOG.warning("publishing the state failed", reason=str(failure))

    def show(self, now: datetime) -> None:
        """Sets the gauges, whether or not the bus can be reached."""
        progress, metrics = self._parts.progress, self._parts.metrics
        for total in progress.totals():
            metrics.gauge("hilum_spool_deliveries", total.deliveries, state=total.state)
        oldest_at = progress.oldest_unarchived_at()
        age_s = 0.0 if oldest_at is None else max(0.0, (now - oldest_at).total_seconds())
        metrics.gauge("hilum_spool_oldest_unarchived_seconds", age_s)
        metrics.gauge("hilum_forward_window_bytes", progress.window_bytes())

    def _state(self, moment: Moment) -> GatewayState:
        facts, parts = self._facts, self._parts
        readiness = parts.health.readiness()
        # What has not been read yet may hold a receipt; none can be promised then.
        unread = 0 if moment.has_caught_up else 1
        oldest_receipt_at = None if unread else parts.receipts.oldest_unpublished_at()
        return GatewayState(
            site=facts.site,
            gateway_id=facts.gateway_id,
            gateway_name=facts.gateway_name,
            boot_id=facts.boot_id,
            at=moment.looked_at,
            version=VERSION,
            totals=parts.progress.totals(),
            receipts_unpublished=parts.receipts.unpublished() + unread,
            oldest_receipt_unpublished_at=oldest_receipt_at,
            oldest_unarchived_at=parts.progress.oldest_unarchived_at(),
            spool_bytes=moment.spool_bytes,
            spool_bytes_max=facts.spool_bytes_max,
            disk_free_bytes=shutil.disk_usage(facts.spool_directory).free,
            window_bytes=parts.progress.window_bytes(),
            is_publishing=readiness.is_ready,
            reason=readiness.reason,
            requests_done=moment.requests_done,
            requests_failed=parts.requests.failed(),
        )
