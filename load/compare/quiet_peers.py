"""Connections that do nothing: associations that idle, and peers that never say a word.

Invariant: every socket opened here is closed when its context is left, whatever the receiver does.
It must not send data sets.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from contracts.failures import RetryableError
from load.lean_worker.negotiation import ASSOCIATE_AC, Proposal, encode_request
from load.senders import Target

CONNECTIONS_MAX = 1_000
ANSWER_WITHIN_S = 5.0
_VERIFICATION = ("1.2.840.10008.1.1", "1.2.840.10008.1.2")
_HEADER_BYTES = 6
_BODY_BYTES_MAX = 64 * 1024


@contextmanager
def idle_associations(target: Target, count: int) -> Iterator[None]:
    """`count` associations that were accepted and then say nothing.

    Raises RetryableError when one is not accepted.
    """
    assert count <= CONNECTIONS_MAX, "bounded by its callers"
    with ExitStack() as stack:
        for _ in range(count):
            associate(stack.enter_context(connect(target)), target)
        yield


@contextmanager
def silent_connections(target: Target, count: int) -> Iterator[None]:
    """`count` connections on which nothing was ever sent."""
    assert count <= CONNECTIONS_MAX, "bounded by its callers"
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(connect(target))
        yield


def seconds_to_establish(target: Target) -> float:
    """From connecting to the end of the A-ASSOCIATE-AC (PS3.8 9.3.3); the connection is closed.

    Raises RetryableError when it is refused, aborted or not answered within ANSWER_WITHIN_S.
    """
    began = time.perf_counter()
    with connect(target) as connection:
        associate(connection, target)
        return time.perf_counter() - began


def connect(target: Target) -> socket.socket:
    """A connection; every call on it ends within ANSWER_WITHIN_S. Raises RetryableError."""
    try:
        connection = socket.create_connection((target.host, target.port), ANSWER_WITHIN_S)
    except OSError as cause:
        raise RetryableError(f"connecting to {target.host}:{target.port}: {cause}") from cause
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def associate(connection: socket.socket, target: Target) -> None:
    """On return the association is established. Raises RetryableError."""
    proposal = Proposal(
        called_ae_title=target.called_ae_title,
        calling_ae_title=target.calling_ae_title,
        contexts=(_VERIFICATION,),
        pdu_bytes_max=16_384,
        window=1,
        implementation=("2.25.148350967200000000000000000000000002", "HILUM_LOAD_1"),
    )
    try:
        connection.sendall(encode_request(proposal))
        header = _read(connection, _HEADER_BYTES)
        length = int.from_bytes(header[2:], "big")
        if length > _BODY_BYTES_MAX:
            raise RetryableError(f"associating: an answer of {length} bytes")
        _read(connection, length)
    except OSError as cause:
        raise RetryableError(f"associating with {target.called_ae_title}: {cause}") from cause
    if header[0] != ASSOCIATE_AC:
        raise RetryableError(f"associating: answered by a PDU of type {header[0]:02X}")


def _read(connection: socket.socket, size_bytes: int) -> bytes:
    read = b""
    while len(read) < size_bytes:
        more = connection.recv(size_bytes - len(read))
        if not more:
            raise RetryableError("associating: the connection was closed")
        read += more
    return read
