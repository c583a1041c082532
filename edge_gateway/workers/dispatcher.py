"""The gate and every count of a gateway with workers, and which worker serves a connection.

Invariant: a place belongs to one connection of one worker, and is free again when the association
or its worker ends, whichever comes first; a connection goes to the worker with the fewest. One
thread. Must not read or write a peer's bytes.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from edge_gateway.admission import Admission, Admitted, Capacity, Refusal
from edge_gateway.association import AssociationLimits
from edge_gateway.association.waiting_room import WaitingRoom
from edge_gateway.workers.child import Child
from edge_gateway.workers.messages import (
    Admittance,
    Asked,
    Closed,
    Counted,
    Evicted,
    Left,
    Lingers,
    Message,
    Observed,
    Passed,
    Refused,
    Serving,
    Standing,
)
from infra.metric_list import MetricName
from infra.settings import GatewaySettings
from infra.telemetry import Metrics, logger

_LOG = logger("workers")


@dataclass(eq=False, slots=True)
class PassedConnection:
    """A connection that a worker serves; `place` while it has an association."""

    number: int
    address: str
    child: Child
    place: Admitted | None = None

    def cut(self) -> None:
        """Its worker ends it."""
        self.child.say(Evicted(self.number))


class Dispatcher:
    """Used by the acceptor's main thread; `active` and `counts` are for any."""

    def __init__(
        self,
        gateway: GatewaySettings,
        children: Sequence[Child],
        limits: AssociationLimits,
        metrics: Metrics,
    ) -> None:
        self._rules = gateway.admit
        self._children = children
        self._metrics = metrics
        self._waiting_room = WaitingRoom(limits.pending_max, limits.pending_per_address_max)
        self._admission = Admission(gateway, lambda: self._asker)
        self._asker = Capacity(True, "")
        self._connections: dict[Child, dict[int, PassedConnection]] = {
            child: {} for child in children
        }
        self._last_number = 0

    @property
    def active(self) -> int:
        """Associations inside now."""
        return self._admission.active

    @property
    def counts(self) -> dict[int, int]:
        """Connections by worker."""
        return {child.number: len(served) for child, served in self._connections.items()}

    def passes(self, accepted: socket.socket, address: str) -> bool:
        """Hands a connection to the worker with the fewest; False where none takes it now.

        Handed over, the socket is closed here: it is open in the worker alone.
        """
        self._last_number += 1
        number = self._last_number
        for child in self._by_load():
            if child.takes(Passed(number, address), accepted):
                accepted.close()
                connection = PassedConnection(number, address, child)
                self._connections[child][number] = connection
                self._waiting_room.enter(connection)
                return True
        return False

    def evict_oldest(self) -> None:
        """Makes room where there is no descriptor left."""
        self._waiting_room.evict_oldest()

    def take(self, child: Child, message: Message) -> None:
        """What a worker said."""
        match message:
            case Serving(records, damaged):
                child.serves()
                _LOG.info("worker serves", worker=child.number, recovered_records=records)
                if damaged:
                    _LOG.error("rotten places", worker=child.number, damaged=damaged)
            case Standing():
                child.standing = message
            case Counted(name, by, labels):
                self._metrics.count(cast(MetricName, name), by, **labels)
            case Observed(name, values):
                for value in values:
                    self._metrics.observe(cast(MetricName, name), value)
            case Asked() | Left() | Lingers() | Closed():
                connection = self._connections[child].get(message.connection)
                if connection is not None:
                    self._take_of(connection, message)

    def forget(self, child: Child) -> None:
        """The worker is gone, and with it its connections: their places are free."""
        served = self._connections[child]
        if served:
            _LOG.warning("connections lost", worker=child.number, connections=len(served))
        for connection in list(served.values()):
            self._close(connection)

    def _take_of(
        self, connection: PassedConnection, message: Asked | Left | Lingers | Closed
    ) -> None:
        match message:
            case Asked():
                self._judge(connection, message)
            case Left():
                self._give_back(connection)
            case Lingers():
                self._waiting_room.enter(connection)
            case Closed():
                self._close(connection)

    def _judge(self, connection: PassedConnection, asked: Asked) -> None:
        self._asker = Capacity(not asked.refusal, asked.refusal)
        judged = self._admission.enter(
            asked.calling, asked.called, connection.address, frozenset(asked.identities)
        )
        if isinstance(judged, Refusal):
            answer = Refused(connection.number, judged.reject.code, judged.reason)
            connection.child.say(answer)
            return
        connection.place = judged
        self._waiting_room.leave(connection)
        connection.child.say(Admittance(connection.number, self._rules.index(judged.rule)))

    def _give_back(self, connection: PassedConnection) -> None:
        if connection.place is not None:
            self._admission.leave(connection.place)
            connection.place = None

    def _close(self, connection: PassedConnection) -> None:
        self._give_back(connection)
        self._waiting_room.leave(connection)
        self._connections[connection.child].pop(connection.number, None)

    def _by_load(self) -> list[Child]:
        """Those that serve, the fewest connections first; one whose spool refuses comes last.

        The last resort says why it refuses: whoever is refused is told, not left waiting.
        """
        serving = [child for child in self._children if child.is_serving]
        return sorted(
            serving,
            key=lambda child: (
                bool(child.standing.refusal),
                len(self._connections[child]),
                child.number,
            ),
        )
