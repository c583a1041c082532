"""The forward process of the simulated gateway: the product's duties, without their threads.

Invariant: put together as `edge_gateway.forward` does it, on the simulated bus, clock and disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from contracts.envelope import Origin
from contracts.failures import RetryableError
from edge_gateway.bandwidth import Bandwidth
from edge_gateway.centre import INBOX_BATCHES_MAX, CentreListener
from edge_gateway.centre_offsets import positions_in
from edge_gateway.custody import CustodyDesk
from edge_gateway.delivery_queue import DeliveryQueue
from edge_gateway.flight import Sender
from edge_gateway.forward_health import ForwardHealth
from edge_gateway.forwarder import Forwarder, ForwarderParts
from edge_gateway.gateway_requests import RequestDesk
from edge_gateway.priorities import Priorities
from edge_gateway.priority_view import PriorityView
from edge_gateway.progress import Progress
from edge_gateway.progress_receipts import ReceiptLedger
from edge_gateway.publish import Pipeline, PublishLimits, PublishParts
from edge_gateway.receipts import ReceiptPublisher, ReceiptSender
from edge_gateway.recent import RecentDeliveries
from edge_gateway.retention import Retention, RetentionLimits, RetentionParts
from edge_gateway.spool import SpoolSet
from edge_gateway.spool_feed import SpoolFeed
from edge_gateway.spool_feeds import SpoolFeeds
from edge_gateway.state import GatewayFacts, StateParts, StateReporter
from edge_gateway.twin import TwinWatch
from infra.settings_forwarding import ForwardingSettings
from infra.telemetry import Metrics
from tests.simulation.bus import SimulatedBus, SimulatedPublisher
from tests.simulation.clock import SimulatedClock
from tests.simulation.disk import SimulatedFileSystem
from tests.simulation.limits import (
    GATEWAY_ID,
    HOLD_S,
    IN_FLIGHT_BYTES,
    KAFKA,
    LEDGER,
    REPUBLISH_AFTER,
    SEGMENT_BYTES,
    SITE,
    SPOOL_BYTES_MAX,
    WINDOW_BYTES,
)

LISTEN_AGAIN_S = 0.5
ORIGIN = Origin("/hilum/north/forward-north")


@dataclass
class Forwarding:
    """A forward process that runs."""

    forwarder: Forwarder
    listener: CentreListener
    progress: Progress
    receipts: ReceiptLedger
    pipeline: Pipeline
    spools: SpoolSet
    fs: SimulatedFileSystem
    publisher: SimulatedPublisher
    is_connected: bool = False
    listens_again_at: float = 0.0

    def listen(self, now_s: float) -> None:
        """One turn of the listener's thread."""
        listener = self.listener
        if listener.inbox.qsize() > INBOX_BATCHES_MAX // 2:
            return
        try:
            if not self.is_connected:
                if now_s < self.listens_again_at:
                    return
                listener.connect()
                self.is_connected = True
            if not listener.follow():
                listener.disconnect()
                self.is_connected = False
        except RetryableError:
            listener.disconnect()
            self.is_connected = False
            self.listens_again_at = now_s + LISTEN_AGAIN_S

    def end(self) -> None:
        """What the ledger's last batch had is gone; what was sent may still arrive."""
        self.publisher.close()
        self.pipeline.abandon()
        self.fs.end()
        self.spools.close()
        self.progress.connection.rollback()
        self.progress.connection.close()


def start_forwarding(
    directory: Path,
    bus: SimulatedBus,
    clock: SimulatedClock,
    fs: SimulatedFileSystem,
    boot_id: str,
    *,
    has_priorities: bool,
    settings: ForwardingSettings,
) -> Forwarding:
    """The duties, as `edge_gateway.forward` puts them together."""
    metrics, health = Metrics(), ForwardHealth()
    publisher = SimulatedPublisher(bus, ORIGIN)
    spools = SpoolSet(directory, fs=fs)
    progress = Progress(directory / LEDGER, GATEWAY_ID)
    receipts, recent = ReceiptLedger(progress.connection), RecentDeliveries()
    requests = RequestDesk(GATEWAY_ID, progress, clock, metrics)
    bandwidth = Bandwidth(settings, clock)
    sender = Sender(SITE, GATEWAY_ID, ORIGIN, publisher)
    pipeline = _pipeline(
        PublishParts(
            progress=progress,
            queue=_queue(progress, clock, has_priorities=has_priorities),
            bandwidth=bandwidth,
            recent=recent,
            spools=spools,
            sender=sender,
            health=health,
            clock=clock,
            metrics=metrics,
        )
    )
    listener = CentreListener(KAFKA, GATEWAY_ID, positions_in(progress), health, clock)
    parts = ForwarderParts(
        progress=progress,
        feed=SpoolFeeds(
            spools,
            lambda reader: SpoolFeed(
                reader, progress, receipts, recent, health, priorities=Priorities()
            ),
        ),
        listener=listener,
        custody=CustodyDesk(GATEWAY_ID, progress, clock, metrics),
        requests=requests,
        pipeline=pipeline,
        bandwidth=bandwidth,
        receipts=_receipts(receipts, publisher, health, clock),
        retention=_retention(RetentionParts(progress, receipts, spools, health, clock)),
        state=_state(
            boot_id,
            directory,
            StateParts(progress, receipts, requests, health, publisher, clock, metrics),
        ),
        twin=TwinWatch(boot_id),
        health=health,
        clock=clock,
        metrics=metrics,
    )
    (forwarder := Forwarder(parts, GATEWAY_ID, REPUBLISH_AFTER)).begin()
    return Forwarding(forwarder, listener, progress, receipts, pipeline, spools, fs, publisher)


def _pipeline(parts: PublishParts) -> Pipeline:
    return Pipeline(parts, PublishLimits(IN_FLIGHT_BYTES, WINDOW_BYTES))


def _queue(progress: Progress, clock: SimulatedClock, *, has_priorities: bool) -> DeliveryQueue:
    if not has_priorities:
        return DeliveryQueue(progress, clock)
    view = PriorityView(progress.connection, timedelta(seconds=60))
    return DeliveryQueue(progress, clock, view)


def _state(boot_id: str, directory: Path, parts: StateParts) -> StateReporter:
    facts = GatewayFacts(SITE, GATEWAY_ID, "north", boot_id, directory, SPOOL_BYTES_MAX)
    return StateReporter(facts, parts, 10.0)


def _retention(parts: RetentionParts) -> Retention:
    limits = RetentionLimits(SEGMENT_BYTES, SPOOL_BYTES_MAX, HOLD_S, 0)
    return Retention(parts, limits)


def _receipts(
    ledger: ReceiptLedger,
    publisher: SimulatedPublisher,
    health: ForwardHealth,
    clock: SimulatedClock,
) -> ReceiptPublisher:
    sender = ReceiptSender(SITE, GATEWAY_ID, publisher, 60.0)
    return ReceiptPublisher(ledger, sender, health, clock)
