"""A worker process: it serves the connections that the acceptor hands over, into its own spool.

Invariant: it answers for its own spool alone; whoever may associate is the acceptor's word, and
when the acceptor is gone nothing new begins. Must not bind a port.
"""

from __future__ import annotations

import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from contracts.failures import EXIT_OK
from edge_gateway.association import CertificateWatch, TlsCertificates
from edge_gateway.association.acceptor import AcceptorParts
from edge_gateway.association.connection import Connection
from edge_gateway.association.log_budget import LogBudget
from edge_gateway.association.serving import Serving as Connections
from edge_gateway.commitment.intake import ActionDesk
from edge_gateway.confirmation import confirmations_by_level
from edge_gateway.intake import Intake
from edge_gateway.receive import SWITCH_INTERVAL_S, spool_limits
from edge_gateway.spool import Spool
from edge_gateway.spool.family import worker_directory
from edge_gateway.workers.asked_gate import AskedGate, AskedRoom
from edge_gateway.workers.messages import (
    MESSAGE_BYTES_MAX,
    Admittance,
    Evicted,
    Message,
    Passed,
    Refused,
    ReloadCertificates,
    Report,
    Reported,
    Serving,
    Standing,
    decode,
    encode,
)
from edge_gateway.workers.order import WorkerOrder
from edge_gateway.workers.relayed_metrics import RelayedMetrics
from infra.clock import SystemClock
from infra.telemetry import configure_logging, logger

_LOG = logger("worker")
REPORT_INTERVAL_S = 0.25
DAMAGED_TOLD_MAX = 16
# The acceptor answers at once or is gone, which ends the wait as well.
ANSWER_TIMEOUT_S = 10.0


def run(order: WorkerOrder, control: socket.socket) -> int:
    """Serves until SIGTERM, SIGINT or the acceptor's end of `control`; the exit code.

    Raises FatalError (spool, certificates), RetryableError (spool still held).
    """
    configure_logging(f"receive-{order.gateway_name}-{order.number}", order.log_level)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gateway = order.gateway
    root = gateway.spool.directory
    with Spool.open(
        worker_directory(root, order.number),
        gateway.site,
        spool_limits(gateway, order.workers),
        gateway_directory=root,
    ) as spool:
        worker = Worker(order, spool, control)
        # Not before: what comes while the spool is recovered ends the process at once.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.ask_to_stop())
        worker.serve()
    return EXIT_OK


@dataclass(slots=True)
class _Served:
    connection: Connection
    gate: AskedGate


class Worker:
    """An open spool and the acceptor's end; `serve` returns when either end wants it."""

    def __init__(self, order: WorkerOrder, spool: Spool, control: socket.socket) -> None:
        gateway, limits, root = order.gateway, order.limits, order.gateway.spool.directory
        self._spool = spool
        self._control = control
        self._rules = gateway.admit
        self._metrics = RelayedMetrics()
        self._confirmations = confirmations_by_level(root)
        certificates = TlsCertificates(gateway.tls) if gateway.tls else None
        self._watch = CertificateWatch(certificates) if certificates else None
        clock = SystemClock()
        self._parts = AcceptorParts(
            admission=self._gate(0),
            intake=Intake(spool, self._metrics, clock, self._confirmations),
            limits=limits,
            certificates=certificates,
            waiting_room=AskedRoom(0, self._say),
            budget=LogBudget(_LOG),
            actions=ActionDesk(root, gateway.commitment, self._metrics, clock),
        )
        self._connections = Connections(limits.drain_timeout_s)
        self._lock = threading.Lock()
        self._served: dict[int, _Served] = {}
        self._flushes = 0
        self._standing: Standing | None = None

    def ask_to_stop(self) -> None:
        """From a signal handler."""
        self._connections.stop.set()

    def serve(self) -> None:
        """Serves what is passed until the end; C-STOREs under way then finish, 10 s at most."""
        if self._watch is not None:
            self._watch.start()
        recovery = self._spool.recovery
        self._say(Serving(recovery.records, list(recovery.damaged[:DAMAGED_TOLD_MAX])))
        self._report()
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._connections.stop, select.POLLIN)
        due_s = 0.0
        while not self._connections.stop.is_set:
            ready = dict(poller.poll(REPORT_INTERVAL_S * 1000))
            if self._control.fileno() in ready and not self._hear():
                self.ask_to_stop()
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + REPORT_INTERVAL_S
                self._report()
        self._finish()

    def _finish(self) -> None:
        self._say(Standing("stopping", ""))
        with self._lock:
            for served in self._served.values():
                served.gate.answer(None)
        for confirmations in set(self._confirmations.values()):
            confirmations.stop()
        self._connections.finish()
        if self._watch is not None:
            self._watch.stop()
        self._report()

    def _hear(self) -> bool:
        """Takes one message; False at the acceptor's end."""
        try:
            datagram, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES_MAX, 1)
        except OSError:
            return False
        if not datagram:
            return False
        match decode(datagram):
            case Passed(number, address):
                self._begin(number, address, descriptors)
            case Admittance(number) | Refused(number) as answer:
                served = self._find(number)
                if served is not None:
                    served.gate.answer(answer)
            case Evicted(number):
                served = self._find(number)
                if served is not None:
                    served.connection.cut()
            case Report(scrape):
                self._report()
                self._say(Reported(scrape))
            case ReloadCertificates():
                if self._watch is not None:
                    self._watch.ask()
        return True

    def _begin(self, number: int, address: str, descriptors: list[int]) -> None:
        room = AskedRoom(number, self._say)
        if not descriptors:
            _LOG.error("taking a connection over: no descriptor left")
            room.close()
            return
        accepted = socket.socket(fileno=descriptors[0])
        try:
            connection = Connection(accepted, address, self._connections.stop)
        except OSError:
            accepted.close()
            room.close()
            return
        gate = self._gate(number)
        with self._lock:
            self._served[number] = _Served(connection, gate)
        parts = replace(self._parts, admission=gate, waiting_room=room)
        self._connections.begin(connection, parts, lambda: self._end(number, room))

    def _end(self, number: int, room: AskedRoom) -> None:
        with self._lock:
            self._served.pop(number, None)
        room.close()

    def _find(self, number: int) -> _Served | None:
        with self._lock:
            return self._served.get(number)

    def _gate(self, number: int) -> AskedGate:
        return AskedGate(number, self._rules, self._say, self._refusal, ANSWER_TIMEOUT_S)

    def _refusal(self) -> str:
        admission = self._spool.admission()
        return "" if admission.accepting else admission.reason or "spool refuses"

    def _report(self) -> None:
        flushes = self._spool.statistics().flushes
        self._metrics.count("hilum_spool_flush_total", flushes - self._flushes)
        self._flushes = flushes
        for message in self._metrics.take():
            self._say(message)
        standing = Standing(self._refusal(), self._spool.broken or "")
        if standing != self._standing:
            self._standing = standing
            self._say(standing)

    def _say(self, message: Message) -> None:
        # Nobody hears it any more: `serve` finds that out and stops.
        with suppress(OSError):
            self._control.send(encode(message))
