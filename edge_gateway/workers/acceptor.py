"""The receive process of a gateway with workers: it accepts, and hands every connection over.

Invariant: the port is bound here alone; one thread holds all counts and never waits for a peer, a
disk or a worker. Stopped, it ends when the last worker has, or has been killed. Must not receive.
"""

from __future__ import annotations

import selectors
import signal
import socket
import time

from contracts.failures import EXIT_FATAL, EXIT_OK
from edge_gateway.admission import check_exposure, peer_address
from edge_gateway.association import AssociationLimits, CertificateWatch, TlsCertificates
from edge_gateway.association.connection import StopSignal
from edge_gateway.association.listener import NO_DESCRIPTORS, bind
from edge_gateway.receive import Addresses, accepting_text
from edge_gateway.spool import spool_usage
from edge_gateway.workers.child import Child
from edge_gateway.workers.dispatcher import Dispatcher
from edge_gateway.workers.messages import Reported
from edge_gateway.workers.scrapes import Scrapes
from infra.settings import GatewaySettings
from infra.telemetry import Metrics, ProcessEndpoint, Readiness, logger

_LOG = logger("workers")
TICK_S = 0.25
# While a connection waits that no worker takes, or descriptors are short.
HELD_TICK_S = 0.005
ACCEPTED_AT_ONCE_MAX = 64
# How long the first worker that serves waits for the others: what came meanwhile would all be its.
OPEN_TOGETHER_S = 10.0
# Beyond the drain time: what is cut, and the spool's last flush.
END_WITHIN_S = 15.0


class AcceptorProcess:
    """Bound by the constructor, serving from `run` to a stop."""

    def __init__(
        self, gateway: GatewaySettings, children: list[Child], limits: AssociationLimits
    ) -> None:
        self._gateway = gateway
        self.children = children
        self._exposure = check_exposure(gateway)
        self._drain_timeout_s = limits.drain_timeout_s
        # The workers read the files for themselves; here they are watched for readiness.
        self._watch = CertificateWatch(TlsCertificates(gateway.tls)) if gateway.tls else None
        self.metrics = Metrics()
        self._dispatcher = Dispatcher(gateway, children, limits, self.metrics)
        self._scrapes = Scrapes()
        self.stop = StopSignal()
        self._is_reload_asked = False
        self._held: tuple[socket.socket, str] | None = None
        self._selector = selectors.DefaultSelector()
        self._listening = bind(gateway.bind, gateway.dicom_port)
        self._is_listening = False
        self._is_open = False
        self._open_by_s: float | None = None
        self._endpoint = ProcessEndpoint(
            "127.0.0.1",
            gateway.http_port,
            self.metrics,
            self.readiness,
            before_scrape=self._update_gauges,
        )
        self.addresses = Addresses(self._listening.getsockname()[1], self._endpoint.port)

    @property
    def associations(self) -> int:
        """How many associations have a place now."""
        return self._dispatcher.active

    @property
    def connections(self) -> dict[int, int]:
        """How many connections each worker has."""
        return self._dispatcher.counts

    def ask_for_reload(self) -> None:
        """Certificates are read again within a second, here and in the workers; for a signal."""
        self._is_reload_asked = True

    def run(self) -> int:
        """Accepts until `stop`, then stops the workers in order; the exit code."""
        if self._watch is not None:
            self._watch.start()
        self._endpoint.start()
        self._selector.register(self.stop, selectors.EVENT_READ)
        self._selector.register(self._scrapes.bell, selectors.EVENT_READ)
        while not self.stop.is_set:
            self._tick()
            if all(child.is_given_up for child in self.children):
                _LOG.error("no worker is left")
                break
        code = EXIT_OK if self.stop.is_set else EXIT_FATAL
        self._end()
        return code

    def readiness(self) -> Readiness:
        """Ready while a worker takes associations and no spool is broken."""
        standings = [(child, child.standing) for child in self.children if child.is_serving]
        for child, standing in standings:
            if standing.broken:
                text = f"spool of worker {child.number} broken: {standing.broken}"
                return Readiness(False, f"not everything is acknowledged, {text}")
        if not standings or not self._is_open:
            return Readiness(False, f"{len(standings)} of {len(self.children)} workers serve yet")
        refusals = [standing.refusal for _, standing in standings]
        if all(refusals):
            return Readiness(False, f"refusing new associations: {refusals[0]}")
        notes = self._watch.notes() if self._watch else ""
        text = accepting_text(self._gateway, self.addresses.dicom_port, self._exposure, notes)
        count = f"{len(standings)} of {len(self.children)} workers"
        return Readiness(True, f"{text}; {count}")

    # -- one turn

    def _tick(self) -> None:
        for child in self.children:
            if child.start_if_due() and child.control is not None:
                self._selector.register(child.control, selectors.EVENT_READ, child)
        if self._is_reload_asked:
            self._reload()
        self._pass_held()
        self._listen(self._held is None and self._may_accept())
        self._turn(HELD_TICK_S if self._held is not None else TICK_S)

    def _turn(self, timeout_s: float) -> None:
        self._await_room()
        for key, events in self._selector.select(timeout_s):
            if isinstance(key.data, Child):
                if events & selectors.EVENT_WRITE:
                    key.data.flush()
                if events & selectors.EVENT_READ:
                    self._hear(key.data)
            elif key.fileobj is self._listening:
                self._accept()
            elif key.fileobj is self._scrapes.bell:
                self._scrapes.begin(self.children)

    def _await_room(self) -> None:
        """Wakes when a worker reads again that did not take everything."""
        for child in self.children:
            if child.control is not None:
                wanted = selectors.EVENT_READ
                wanted |= selectors.EVENT_WRITE if child.has_unsaid else 0
                self._selector.modify(child.control, wanted, child)

    def _hear(self, child: Child) -> None:
        for message in child.heard():
            if isinstance(message, Reported):
                self._scrapes.reported(child, message.scrape)
                continue
            if message is not None:
                self._dispatcher.take(child, message)
                continue
            assert child.control is not None
            self._selector.unregister(child.control)
            child.let_go()
            self._dispatcher.forget(child)
            self._scrapes.forget(child)
            return

    # -- connections

    def _may_accept(self) -> bool:
        """While a worker serves; at the start, once all do or the first has waited long enough."""
        if not any(child.is_serving for child in self.children):
            return False
        if not self._is_open:
            now_s = time.monotonic()
            self._open_by_s = self._open_by_s or now_s + OPEN_TOGETHER_S
            self._is_open = now_s >= self._open_by_s or all(
                child.is_serving or child.is_given_up for child in self.children
            )
        return self._is_open

    def _listen(self, is_wanted: bool) -> None:
        """Without a worker, connections wait in the kernel's queue."""
        if is_wanted and not self._is_listening:
            self._selector.register(self._listening, selectors.EVENT_READ)
        elif not is_wanted and self._is_listening:
            self._selector.unregister(self._listening)
        self._is_listening = is_wanted

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE_MAX):
            try:
                accepted, address = self._listening.accept()
            except OSError as cause:
                # Anything else is a peer that was gone before, or nobody more.
                if cause.errno in NO_DESCRIPTORS:
                    _LOG.error("accepting a connection: no descriptor left")
                    self._dispatcher.evict_oldest()
                    time.sleep(HELD_TICK_S)
                return
            self._held = (accepted, peer_address(address[0]))
            self._pass_held()
            if self._held is not None:
                return

    def _pass_held(self) -> None:
        if self._held is not None and self._dispatcher.passes(*self._held):
            self._held = None

    # -- beside

    def _reload(self) -> None:
        self._is_reload_asked = False
        if self._watch is not None:
            self._watch.ask()
        for child in self.children:
            child.reload_certificates()

    def _update_gauges(self) -> None:
        """Counts that nothing else would push into the metrics; scrapes may overlap."""
        self._scrapes.ask()
        metrics = self.metrics
        metrics.gauge("hilum_association_active", self._dispatcher.active)
        metrics.gauge("hilum_spool_bytes", spool_usage(self._gateway.spool.directory).bytes)
        for number, count in self._dispatcher.counts.items():
            metrics.gauge("hilum_worker_connections", count, worker=str(number))
        for child in self.children:
            metrics.gauge("hilum_worker_restarts", child.restarts, worker=str(child.number))
        if self._watch is not None:
            self._watch.gauge(metrics)

    def _end(self) -> None:
        """No new connection; the workers finish what is under way and end, or are killed."""
        self._listen(False)
        self._listening.close()
        if self._held is not None:
            self._held[0].close()
        self._selector.unregister(self.stop)
        for child in self.children:
            child.ask_to_stop()
        until_s = time.monotonic() + self._drain_timeout_s + END_WITHIN_S
        while any(child.is_alive for child in self.children) and time.monotonic() < until_s:
            self._turn(HELD_TICK_S)
        for child in self.children:
            child.kill()
        self._endpoint.stop()
        if self._watch is not None:
            self._watch.stop()
        self._selector.close()
        self._scrapes.bell.close()
        if self.stop.is_set:
            self.stop.close()


def stop_on_signals(process: AcceptorProcess) -> None:
    """SIGTERM and SIGINT stop it, SIGHUP reloads certificates."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.stop.set())
    signal.signal(signal.SIGHUP, lambda *_: process.ask_for_reload())
