"""The forwarder process of one gateway: makes its parts, runs it, ends it.

Invariant: one forwarder per gateway (forward.lock); it starts with Kafka down and stays up, red and
trying, whatever Kafka answers, since an exit for good would end delivery until a person comes.
Must hold no rule about deliveries.
"""

from __future__ import annotations

import signal
import sqlite3
import threading
import uuid
from datetime import timedelta

from contracts.envelope import Origin
from contracts.failures import EXIT_FAILED, EXIT_OK
from edge_gateway.bandwidth import Bandwidth
from edge_gateway.centre import CentreListener
from edge_gateway.centre_offsets import positions_in
from edge_gateway.commitment.parts import commitment_desk, reporter
from edge_gateway.custody import CustodyDesk
from edge_gateway.delivery_queue import DeliveryQueue
from edge_gateway.drained import DrainedSpools
from edge_gateway.flight import Sender
from edge_gateway.forward_health import ForwardHealth
from edge_gateway.forwarder import Forwarder, ForwarderParts
from edge_gateway.gateway_requests import RequestDesk
from edge_gateway.level_desk import LevelDesk
from edge_gateway.pace import is_waited_for, pace_of
from edge_gateway.priorities import Priorities
from edge_gateway.priority_view import PriorityView
from edge_gateway.progress import Progress
from edge_gateway.progress_receipts import ReceiptLedger
from edge_gateway.publish import Pipeline, PublishLimits, PublishParts
from edge_gateway.quota_desk import QuotaDesk
from edge_gateway.quotas import has_quota
from edge_gateway.receipts import ReceiptPublisher, ReceiptSender
from edge_gateway.recent import RecentDeliveries
from edge_gateway.retention import Retention, RetentionLimits, RetentionParts, SegmentNeeds
from edge_gateway.spool import GatewayIdentity, SpoolSet
from edge_gateway.spool.spool_set import WorkerReader
from edge_gateway.spool_feed import SpoolFeed
from edge_gateway.spool_feeds import SpoolFeeds
from edge_gateway.spool_identity import await_identity
from edge_gateway.state import GatewayFacts, StateParts, StateReporter
from edge_gateway.twin import TwinWatch
from edge_gateway.workers.count import worker_count
from infra.broker import KafkaPublisher
from infra.clock import SystemClock
from infra.settings import Settings
from infra.telemetry import Metrics, ProcessEndpoint, configure_logging, logger

LEDGER_NAME = "progress.sqlite"
# As the receiver's: `gateway.bind` is the modalities' network, which has no business there.
_HTTP_BIND = "127.0.0.1"
# Half of what the payload topic keeps: the archive has the other half to read it.
REPUBLISH_SHARE = 0.5
_LOG = logger("forward")


def run(settings: Settings, gateway_name: str) -> int:
    """Forwards until SIGTERM or SIGINT; the exit code.

    Raises FatalError (settings, a spool of another version), RetryableError (another forwarder
    holds the spool).
    """
    gateway = settings.gateway(gateway_name)
    configure_logging(f"forward-{gateway_name}", settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    metrics, health, clock = Metrics(), ForwardHealth(), SystemClock()
    endpoint = ProcessEndpoint(_HTTP_BIND, gateway.forwarder_http_port, metrics, health.readiness)
    endpoint.start()
    try:
        identity = await_identity(gateway.spool.directory, health, clock, stop)
        if identity is None:
            return EXIT_OK
        with SpoolSet(gateway.spool.directory, workers=worker_count(gateway)) as spools:
            process = ForwardProcess(settings, gateway_name, identity, spools)
            return process.run(metrics, health, stop)
    finally:
        endpoint.stop()


class ForwardProcess:
    """What one start of the forwarder is made of."""

    def __init__(
        self,
        settings: Settings,
        gateway_name: str,
        identity: GatewayIdentity,
        spools: SpoolSet,
    ) -> None:
        self._settings = settings
        self._gateway = settings.gateway(gateway_name)
        self._name = gateway_name
        self._identity = identity
        self._spools = spools
        self._boot_id = str(uuid.uuid4())
        self._clock = SystemClock()

    def run(self, metrics: Metrics, health: ForwardHealth, stop: threading.Event) -> int:
        """Forwards until `stop`. A disk that refuses ends the process; its next start goes on."""
        directory = self._gateway.spool.directory
        origin = Origin(f"/hilum/{self._gateway.site}/forward-{self._name}")
        publisher = KafkaPublisher(
            self._settings.kafka,
            origin,
            self._clock,
            payload_compression=self._gateway.forwarding.payload_compression,
            linger_ms=pace_of(self._gateway).linger_ms,
        )
        sender = Sender(self._identity.site, self._identity.gateway_id, origin, publisher)
        try:
            progress = Progress(directory / LEDGER_NAME, self._identity.gateway_id)
            parts = self._parts(progress, sender, metrics, health)
            _LOG.info("forwarding", gateway_id=self._identity.gateway_id, boot_id=self._boot_id)
            keep = timedelta(milliseconds=self._settings.kafka.payload_retention_ms)
            self._forwarder(parts, keep * REPUBLISH_SHARE).run(stop)
            progress.close()
        except (OSError, sqlite3.Error) as cause:
            _LOG.error("stopped", reason=f"the spool's disk refuses: {cause}", next_step="")
            return EXIT_FAILED
        finally:
            publisher.close()
        return EXIT_OK

    def _parts(
        self, progress: Progress, sender: Sender, metrics: Metrics, health: ForwardHealth
    ) -> ForwarderParts:
        gateway, clock = self._gateway, self._clock
        gateway_id = self._identity.gateway_id
        receipts, recent = ReceiptLedger(progress.connection), RecentDeliveries()
        requests = RequestDesk(gateway_id, progress, clock, metrics)
        bandwidth = Bandwidth(gateway.forwarding, clock)
        feeds = self._feeds(progress, receipts, recent, health)
        return ForwarderParts(
            progress=progress,
            feed=feeds,
            listener=self._listener(progress, health),
            custody=CustodyDesk(gateway_id, progress, clock, metrics),
            requests=requests,
            bandwidth=bandwidth,
            pipeline=self._pipeline(
                PublishParts(
                    progress=progress,
                    queue=self._queue(progress),
                    bandwidth=bandwidth,
                    recent=recent,
                    spools=self._spools,
                    sender=sender,
                    health=health,
                    clock=clock,
                    metrics=metrics,
                )
            ),
            receipts=ReceiptPublisher(
                receipts,
                ReceiptSender(
                    sender.site, gateway_id, sender.publisher, gateway.receipt_page_age_s
                ),
                health,
                clock,
            ),
            retention=self._retention(progress, receipts, health),
            state=StateReporter(
                self._facts(),
                StateParts(progress, receipts, requests, health, sender.publisher, clock, metrics),
                gateway.state_interval_s,
            ),
            twin=TwinWatch(self._boot_id),
            health=health,
            clock=clock,
            metrics=metrics,
            commitment=commitment_desk(gateway, progress.connection, health, clock, metrics),
            reporter=reporter(gateway, clock, metrics),
            levels=self._levels(progress, health),
            quotas=self._quotas(progress),
            drained=DrainedSpools(progress, self._spools, feeds, clock),
        )

    def _feeds(
        self,
        progress: Progress,
        receipts: ReceiptLedger,
        recent: RecentDeliveries,
        health: ForwardHealth,
    ) -> SpoolFeeds:
        priorities = Priorities(self._gateway.forwarding.priorities)

        def make(reader: WorkerReader) -> SpoolFeed:
            return SpoolFeed(
                reader,
                progress,
                receipts,
                recent,
                health,
                priorities=priorities,
                is_whole=self._is_spool_whole,
            )

        return SpoolFeeds(self._spools, make)

    # -- what the forwarder of a mirror does otherwise

    def _forwarder(self, parts: ForwarderParts, republish_after: timedelta) -> Forwarder:
        return Forwarder(parts, self._identity.gateway_id, republish_after)

    def _is_spool_whole(self) -> bool:
        return True

    def _segment_needs(self, receipts: ReceiptLedger) -> SegmentNeeds:
        return receipts

    # -- the parts

    def _listener(self, progress: Progress, health: ForwardHealth) -> CentreListener:
        return CentreListener(
            self._settings.kafka,
            self._identity.gateway_id,
            positions_in(progress),
            health,
            self._clock,
            checks_copies=any(rule.level == "kafka" for rule in self._gateway.admit),
            poll_s=pace_of(self._gateway).poll_s,
        )

    def _pipeline(self, parts: PublishParts) -> Pipeline:
        gateway = self._gateway
        limits = PublishLimits(
            gateway.publish_in_flight_bytes_max, gateway.published_unarchived_bytes_max
        )
        return Pipeline(parts, limits)

    def _queue(self, progress: Progress) -> DeliveryQueue:
        forwarding = self._gateway.forwarding
        if not forwarding.priorities:
            return DeliveryQueue(progress, self._clock)
        step = timedelta(seconds=forwarding.priority_step_s)
        return DeliveryQueue(progress, self._clock, PriorityView(progress.connection, step))

    def _levels(self, progress: Progress, health: ForwardHealth) -> LevelDesk | None:
        if not is_waited_for(self._gateway):
            return None
        desk = LevelDesk(progress.connection, health, self._clock)
        desk.open(self._gateway.spool.directory)
        return desk

    def _quotas(self, progress: Progress) -> QuotaDesk | None:
        if not has_quota(self._gateway.admit):
            return None
        directory, gateway_id = self._gateway.spool.directory, self._identity.gateway_id
        return QuotaDesk(progress.connection, directory, gateway_id, self._clock)

    def _retention(
        self, progress: Progress, receipts: ReceiptLedger, health: ForwardHealth
    ) -> Retention:
        spool = self._gateway.spool
        return Retention(
            RetentionParts(
                progress, self._segment_needs(receipts), self._spools, health, self._clock
            ),
            RetentionLimits(
                spool.segment_bytes,
                self._spool_bytes_max(),
                spool.hold_s,
                spool.free_bytes_min,
                timedelta(days=self._gateway.commitment.kept_days),
            ),
        )

    def _facts(self) -> GatewayFacts:
        return GatewayFacts(
            site=self._identity.site,
            gateway_id=self._identity.gateway_id,
            gateway_name=self._name,
            boot_id=self._boot_id,
            spool_directory=self._gateway.spool.directory,
            spool_bytes_max=self._spool_bytes_max(),
        )

    def _spool_bytes_max(self) -> int:
        return self._gateway.spool.spool_bytes_max or self._identity.spool_bytes_max
