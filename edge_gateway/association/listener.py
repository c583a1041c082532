"""The DICOM port: accepts connections, one thread each, within limits, and stops in order.

Invariant: the port is bound by one process only (no SO_REUSEPORT: a second stack would take half
of the associations in silence), and nothing slow is ever done in the accept loop.
"""

from __future__ import annotations

import errno
import select
import socket
import threading

from contracts.failures import FatalError, RetryableError
from edge_gateway.admission import Admission, peer_address
from edge_gateway.association.acceptor import AcceptorParts
from edge_gateway.association.connection import Connection
from edge_gateway.association.limits import BACKLOG, AssociationLimits
from edge_gateway.association.log_budget import LogBudget
from edge_gateway.association.serving import Serving
from edge_gateway.association.tls import TlsCertificates
from edge_gateway.association.waiting_room import WaitingRoom
from edge_gateway.commitment.intake import ActionDesk
from edge_gateway.intake import Intake
from infra.telemetry import logger

_LOG = logger("listener")
NO_DESCRIPTORS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
NO_DESCRIPTORS_PAUSE_MS = 50


class Listener:
    """Bound by the constructor (`port` is known then), accepting from `start` to `stop`."""

    def __init__(
        self,
        address: tuple[str, int],
        admission: Admission,
        intake: Intake,
        limits: AssociationLimits,
        certificates: TlsCertificates | None,
        *,
        actions: ActionDesk,
    ) -> None:
        self._waiting_room = WaitingRoom(limits.pending_max, limits.pending_per_address_max)
        self._parts = AcceptorParts(
            admission=admission,
            intake=intake,
            limits=limits,
            certificates=certificates,
            waiting_room=self._waiting_room,
            budget=LogBudget(_LOG),
            actions=actions,
        )
        self._serving = Serving(limits.drain_timeout_s)
        self._stop = self._serving.stop
        self._socket = bind(*address)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept_all, name="accept", daemon=True)

    def start(self) -> None:
        """Accepts from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Refuses new connections, lets C-STOREs under way finish, then closes all.

        Returns within `drain_timeout_s` and a few seconds.
        """
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._socket.close()
        self._serving.finish()

    def _accept_all(self) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.register(self._stop, select.POLLIN)
        while not self._stop.is_set:
            poller.poll()
            if not self._stop.is_set:
                self._accept_one()

    def _accept_one(self) -> None:
        try:
            accepted, address = self._socket.accept()
        except OSError as cause:
            # Anything else is a peer that was gone before it was accepted.
            if cause.errno in NO_DESCRIPTORS:
                self._make_descriptors_free()
            return
        try:
            connection = Connection(accepted, peer_address(address[0]), self._stop)
        except OSError:
            accepted.close()
            return
        self._waiting_room.enter(connection)
        self._serving.begin(connection, self._parts)

    def _make_descriptors_free(self) -> None:
        _LOG.error("accepting a connection: no descriptor left")
        self._waiting_room.evict_oldest()
        waiting = select.poll()
        waiting.register(self._stop, select.POLLIN)
        waiting.poll(NO_DESCRIPTORS_PAUSE_MS)


def bind(host: str, port: int) -> socket.socket:
    """A non-blocking socket that listens, the only one on its port.

    Raises RetryableError where the port is held, FatalError for an address that cannot be.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # create_server sets SO_REUSEADDR alone.
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as cause:
        text = f"binding {host}:{port}: {cause.strerror}"
        if cause.errno == errno.EADDRINUSE:
            raise RetryableError(f"{text}; find who holds the port") from cause
        raise FatalError(text, "correct bind and dicom_port") from cause
    listening.setblocking(False)
    return listening
