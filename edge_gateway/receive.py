"""The receive process of one gateway: the DICOM port in front of the spool.

Invariant: it needs its spool and nothing else in order to answer; Kafka, object stores and
ClickHouse are unknown to it. Readiness says what it does without, or why it refuses.
"""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import dataclass

from contracts.failures import EXIT_OK
from edge_gateway.admission import Admission, Capacity, check_exposure
from edge_gateway.association import (
    AssociationLimits,
    CertificateWatch,
    Listener,
    TlsCertificates,
)
from edge_gateway.commitment.intake import ActionDesk
from edge_gateway.confirmation import confirmations_by_level
from edge_gateway.intake import Intake
from edge_gateway.quotas import Quotas, has_quota
from edge_gateway.spool import Spool, SpoolLimits, spool_usage
from edge_gateway.workers.count import worker_count
from edge_gateway.workers.left_spools import close_left_spools
from infra.clock import SystemClock
from infra.settings import GatewaySettings, Settings
from infra.telemetry import Metrics, ProcessEndpoint, Readiness, configure_logging, logger

_LOG = logger("receive")
# How long one association's thread may compute while another one waits (Python's own: 5 ms). A
# peer that floods us with commands would cost its neighbours that at each of their steps.
SWITCH_INTERVAL_S = 0.0002


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a started gateway listens (ports are known even where the setting said 0)."""

    dicom_port: int
    http_port: int


class Receiver:
    """A gateway's receive side, from an open spool to an accepting port; embeddable in tests."""

    def __init__(
        self, gateway: GatewaySettings, spool: Spool, limits: AssociationLimits | None = None
    ) -> None:
        self._gateway = gateway
        self._spool = spool
        self._exposure = check_exposure(gateway)
        certificates = TlsCertificates(gateway.tls) if gateway.tls else None
        self._watch = CertificateWatch(certificates) if certificates else None
        self._gauges_lock = threading.Lock()
        self._flushes = 0
        self.metrics = Metrics()
        self._confirmations = confirmations_by_level(gateway.spool.directory)
        self._quotas = _quotas_of(gateway, spool)
        self._admission = Admission(gateway, self._capacity)
        self._listener = Listener(
            (gateway.bind, gateway.dicom_port),
            self._admission,
            Intake(spool, self.metrics, SystemClock(), self._confirmations, self._quotas),
            limits or association_limits(gateway),
            certificates,
            actions=ActionDesk(
                gateway.spool.directory, gateway.commitment, self.metrics, SystemClock()
            ),
        )
        self._endpoint = ProcessEndpoint(
            "127.0.0.1",
            gateway.http_port,
            self.metrics,
            self.readiness,
            before_scrape=self._update_gauges,
        )
        self.addresses = Addresses(self._listener.port, self._endpoint.port)

    @property
    def associations(self) -> int:
        """How many associations have a place now."""
        return self._admission.active

    def start(self) -> None:
        """Accepts associations and serves /metrics, /livez and /readyz from now on."""
        if self._watch is not None:
            self._watch.start()
        self._endpoint.start()
        self._listener.start()

    def stop(self) -> None:
        """Stops accepting, lets running C-STOREs finish (10 s at most), closes. Not the spool."""
        # Who waits for a level keeps its copy and comes again; the others finish.
        for confirmations in set(self._confirmations.values()):
            confirmations.stop()
        self._listener.stop()
        self._endpoint.stop()
        if self._quotas is not None:
            self._quotas.close()
        if self._watch is not None:
            self._watch.stop()

    def reload_certificates(self) -> None:
        """New connections get the files as they are now; on a fault the former stay in force."""
        if self._watch is not None:
            self._watch.reload()

    def ask_for_reload(self) -> None:
        """The same within a second, from a signal handler."""
        if self._watch is not None:
            self._watch.ask()

    def readiness(self) -> Readiness:
        """Ready unless the spool refuses; the reason says how the port is exposed."""
        admission = self._spool.admission()
        if self._spool.broken is not None:
            return Readiness(False, f"nothing is acknowledged, spool broken: {self._spool.broken}")
        if not admission.accepting:
            return Readiness(False, f"refusing new associations: {admission.reason}")
        port = self.addresses.dicom_port
        text = accepting_text(self._gateway, port, self._exposure, self._notes())
        return Readiness(True, text)

    def _notes(self) -> str:
        watch = self._watch.notes() if self._watch else ""
        return watch + (self._quotas.notes() if self._quotas else "")

    def _update_gauges(self) -> None:
        """Counts that nothing else would push into the metrics; scrapes may overlap."""
        with self._gauges_lock:
            flushes = self._spool.statistics().flushes
            self.metrics.count("hilum_spool_flush_total", flushes - self._flushes)
            self._flushes = flushes
            # Set by the associations themselves, one that was overtaken between counting and
            # setting would leave its old count for good.
            self.metrics.gauge("hilum_association_active", self.associations)
        if self._watch is not None:
            self._watch.gauge(self.metrics)
        if self._quotas is not None:
            self._quotas.gauge(self.metrics, self._gateway.admit)
        self.metrics.gauge("hilum_spool_bytes", spool_usage(self._gateway.spool.directory).bytes)

    def _capacity(self) -> Capacity:
        admission = self._spool.admission()
        return Capacity(admission.accepting, admission.reason)


def run(settings: Settings, gateway_name: str) -> int:
    """The receive process until SIGTERM or SIGINT; SIGHUP reloads certificates.

    Returns the exit code. Raises FatalError (settings, spool of another site, exposure),
    RetryableError (port or spool still held).
    """
    configure_logging(f"receive-{gateway_name}", settings.log_level)
    gateway = settings.gateway(gateway_name)
    check_exposure(gateway)
    if worker_count(gateway) > 1:
        from edge_gateway.workers import gateway_process

        return gateway_process.run(settings, gateway_name)
    close_left_spools(gateway, 1, spool_limits(gateway))
    stop = _stop_on_signals()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with Spool.open(gateway.spool.directory, gateway.site, spool_limits(gateway)) as spool:
        receiver = Receiver(gateway, spool)
        signal.signal(signal.SIGHUP, lambda *_: receiver.ask_for_reload())
        receiver.start()
        _LOG.info(
            "accepting",
            gateway_id=spool.identity.gateway_id,
            dicom_port=receiver.addresses.dicom_port,
            http_port=receiver.addresses.http_port,
            readiness=receiver.readiness().reason,
            recovered_records=spool.recovery.records,
            damaged=spool.recovery.damaged,
        )
        stop.wait()
        _LOG.info("stopping")
        receiver.stop()
    return EXIT_OK


def accepting_text(gateway: GatewaySettings, dicom_port: int, exposure: str, notes: str) -> str:
    """What readiness says of a port that takes associations."""
    admitted = f"{len(gateway.admit)} rule(s)" if gateway.admit else "nobody: admit is empty"
    return (
        f"accepting as {gateway.ae_title} on {gateway.bind}:{dicom_port}, "
        f"{exposure}, admitting {admitted}{notes}"
    )


def association_limits(gateway: GatewaySettings) -> AssociationLimits:
    """The limits of the port: the settings' where there is one, else those of the design."""
    return AssociationLimits(
        pdu_bytes_max=gateway.pdu_bytes_max,
        object_bytes_max=gateway.spool.object_bytes_max,
        idle_timeout_s=gateway.idle_timeout_s,
        operations_window_max=gateway.operations_window_max,
    )


def spool_limits(gateway: GatewaySettings, workers: int = 1) -> SpoolLimits:
    """The limits of each of so many spools from the settings: memory is shared out evenly."""
    spool = gateway.spool
    return SpoolLimits(
        segment_bytes=spool.segment_bytes,
        object_in_memory_bytes_max=spool.object_in_memory_bytes_max,
        memory_bytes_max=spool.memory_bytes_max // workers,
        object_bytes_max=spool.object_bytes_max,
        spool_bytes_max=spool.spool_bytes_max,
        free_bytes_min=spool.free_bytes_min,
    )


def _quotas_of(gateway: GatewaySettings, spool: Spool) -> Quotas | None:
    if not has_quota(gateway.admit):
        return None
    return Quotas(gateway.spool.directory, spool.identity.gateway_id)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
