"""What acceptor and worker say to each other: whole messages over a socket pair, and sockets.

Invariant: a message is one datagram of at most MESSAGE_BYTES_MAX, so nothing has to be put
together again, and a connection bears the number that the acceptor gave it, never used twice.
Only our own processes hold an end. Must not know what a message leads to.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, fields

import orjson

MESSAGE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Passed:
    """To the worker, with the socket: serve this connection."""

    connection: int
    address: str


@dataclass(frozen=True, slots=True)
class Admittance:
    """To the worker: the connection has a place, by this rule of `admit`."""

    connection: int
    rule: int


@dataclass(frozen=True, slots=True)
class Refused:
    """To the worker: no place; the row of `status.REJECTS` by its code, and what the log says."""

    connection: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Evicted:
    """To the worker: cut it, its place in the waiting room is another's."""

    connection: int


@dataclass(frozen=True, slots=True)
class ReloadCertificates:
    """To the worker: read the TLS files again."""


@dataclass(frozen=True, slots=True)
class Report:
    """To the worker: say now what was counted, then that it is all."""

    scrape: int


@dataclass(frozen=True, slots=True)
class Reported:
    """To the acceptor: everything counted up to now has been said."""

    scrape: int


@dataclass(frozen=True, slots=True)
class Serving:
    """To the acceptor: the spool is recovered and open."""

    recovered_records: int
    damaged: list[str]


@dataclass(frozen=True, slots=True)
class Asked:
    """To the acceptor: may this peer associate? `refusal` is the worker's spool's, '' for none."""

    connection: int
    calling: str
    called: str
    identities: list[str]
    refusal: str


@dataclass(frozen=True, slots=True)
class Left:
    """To the acceptor: the association is over, its place is free."""

    connection: int


@dataclass(frozen=True, slots=True)
class Lingers:
    """To the acceptor: the connection has no association any more and waits for its close."""

    connection: int


@dataclass(frozen=True, slots=True)
class Closed:
    """To the acceptor: the connection is gone."""

    connection: int


@dataclass(frozen=True, slots=True)
class Standing:
    """To the acceptor: why the worker's spool takes nothing, or never will again; '' each."""

    refusal: str
    broken: str


@dataclass(frozen=True, slots=True)
class Counted:
    """To the acceptor: what a counter of the metrics has grown by."""

    name: str
    by: float
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Observed:
    """To the acceptor: observations of a histogram, seconds."""

    name: str
    values: list[float]


Message = (
    Passed | Admittance | Refused | Evicted | ReloadCertificates | Report
    | Serving | Asked | Left | Lingers | Closed | Standing | Counted | Observed | Reported
)  # fmt: skip
_KINDS = {kind.__name__: kind for kind in Message.__args__}


def encode(message: Message) -> bytes:
    """One datagram."""
    values = [getattr(message, field.name) for field in fields(message)]
    return orjson.dumps([type(message).__name__, *values])


def decode(datagram: bytes) -> Message:
    """The message in a datagram of the other end. Raises ValueError for anything else."""
    name, *values = orjson.loads(datagram)
    try:
        found: Message = _KINDS[name](*values)
    except (KeyError, TypeError) as cause:
        raise ValueError(f"a message of an unknown kind: {name!r}") from cause
    return found


def pair() -> tuple[socket.socket, socket.socket]:
    """The acceptor's end, which never blocks, and the worker's, which does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs
