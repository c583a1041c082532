"""Gate and waiting room of one connection in a worker: both are the acceptor's.

Invariant: a place is only taken by the acceptor's word and given back once; without an answer in
time there is none, and the peer is told to come again. Must not count.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_gateway import status
from edge_gateway.admission import Admitted, Refusal
from edge_gateway.association.connection import Connection
from edge_gateway.workers.messages import (
    Admittance,
    Asked,
    Closed,
    Left,
    Lingers,
    Message,
    Refused,
)
from infra.settings_admission import AdmitRule

_REJECTS = {reject.code: reject for reject in status.REJECTS}
_NO_ANSWER = Refusal(status.CONGESTION, "the acceptor did not answer")


class AskedGate:
    """`edge_gateway.admission.Gate` for one connection, by asking. Used by its thread.

    `refusal` tells why the worker's own spool takes nothing, '' where it does. `answer` comes from
    the thread that reads the acceptor's messages.
    """

    def __init__(
        self,
        connection: int,
        rules: tuple[AdmitRule, ...],
        say: Callable[[Message], None],
        refusal: Callable[[], str],
        timeout_s: float,
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._say = say
        self._refusal = refusal
        self._timeout_s = timeout_s
        self._has_answer = threading.Event()
        self._answer: Admittance | Refused | None = None

    def enter(
        self, calling: str, called: str, address: str, identities: frozenset[str] = frozenset()
    ) -> Admitted | Refusal:
        """As `Admission.enter`; the acceptor knows the address."""
        shown = self._told(identities)
        self._say(Asked(self._connection, calling, called, shown, self._refusal()))
        self._has_answer.wait(self._timeout_s)
        match self._answer:
            case Admittance(_, rule):
                return Admitted(calling, self._rules[rule])
            case Refused(_, code, reason):
                return Refusal(_REJECTS[code], reason)
        return _NO_ANSWER

    def leave(self, admitted: Admitted) -> None:
        """Gives the place back."""
        self._say(Left(self._connection))

    def _told(self, identities: frozenset[str]) -> list[str]:
        """Those that a rule names; else one, so that it is known that a certificate was shown.

        A certificate may carry thousands of names, a message may not.
        """
        known = {identity for rule in self._rules for identity in rule.certificate}
        named = identities & known
        return sorted(named) or sorted(identities)[:1]

    def answer(self, answer: Admittance | Refused | None) -> None:
        """What the acceptor said; None: it will not say anything any more."""
        self._answer = answer
        self._has_answer.set()


class AskedRoom:
    """The waiting room for one connection. The acceptor entered it, and sees it leave."""

    def __init__(self, connection: int, say: Callable[[Message], None]) -> None:
        self._connection = connection
        self._say = say

    def enter(self, connection: Connection) -> None:
        """After its association: it waits for the peer's close."""
        self._say(Lingers(self._connection))

    def leave(self, connection: Connection) -> None:
        """Nothing to say: the acceptor knows whom it admitted, and is told of the close."""

    def close(self) -> None:
        """The connection is gone."""
        self._say(Closed(self._connection))
