"""An association that we open: negotiate, C-ECHO, C-STORE of encoded bytes, release.

Invariant: a data set is sent as the bytes that stand in its file, a piece at a time, and no wait
outlives its deadline. Must not decide what to send again: it says what the peer answered.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from edge_gateway.association.command_set import (
    Operation,
    Response,
    decode_response,
    encode_request,
)
from edge_gateway.association.connection import Connection, ConnectionLost
from edge_gateway.association.contexts import VERIFICATION
from edge_gateway.association.limits import (
    COMMAND_SET_BYTES_MAX,
    PDV_HEADER_BYTES,
    AssociationLimits,
)
from edge_gateway.association.negotiation import (
    Peer,
    decode_associate_accept,
    encode_associate_request,
)
from edge_gateway.association.pdu import (
    AbortReason,
    InvalidPdu,
    PduType,
    ProtocolError,
    encode_abort,
    encode_command,
    encode_pdu,
    fragments,
)
from edge_gateway.association.pdu_reader import Pdu, PduReader
from edge_gateway.status import reject_meaning

# What one write hands to the kernel; a small object goes with its command set in a single one.
_WRITE_BYTES = 1024 * 1024
_MESSAGE_ID_MAX = 0xFFFF


class AssociationRejected(Exception):
    """An A-ASSOCIATE-RJ: result (1 permanent, 2 transient), source, reason (PS3.8 9.3.4)."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        meaning = reject_meaning(result, source, reason)
        super().__init__(f"association rejected {result}/{source}/{reason}: {meaning}")
        self.result = result
        self.source = source
        self.reason = reason

    @property
    def is_transient(self) -> bool:
        """Whether the peer may accept later."""
        return self.result == 2


class Requestor:
    """An established association of ours. Used by one thread; a context manager that releases."""

    def __init__(self, connection: Connection, limits: AssociationLimits) -> None:
        self._connection = connection
        self._limits = limits
        self._reader = PduReader(connection, limits)
        self._message_ids = itertools.cycle(range(1, _MESSAGE_ID_MAX + 1))
        self._peer_pdu_bytes_max = 0
        self._contexts: dict[tuple[str, str], int] = {}

    @classmethod
    def open(
        cls, peer: Peer, contexts: Sequence[tuple[str, str]], limits: AssociationLimits
    ) -> Requestor:
        """Associates, proposing each (abstract syntax, transfer syntax), 128 at most.

        Raises AssociationRejected, ConnectionLost, DeadlinePassed, ProtocolError.
        """
        deadline = time.monotonic() + limits.request_timeout_s
        requestor = cls(_connect(peer, limits.request_timeout_s), limits)
        with contextlib.ExitStack() as on_fault:
            on_fault.callback(requestor._connection.close)
            if peer.tls is not None:
                requestor._connection.handshake(peer.tls, deadline, server_name=peer.host)
            requestor._associate(peer, contexts, deadline)
            on_fault.pop_all()
        return requestor

    def __enter__(self) -> Requestor:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def accepts(self, abstract_syntax: str, transfer_syntax: str) -> bool:
        """Whether the peer accepted this context."""
        return (abstract_syntax, transfer_syntax) in self._contexts

    def echo(self) -> Response:
        """A C-ECHO (PS3.7 9.3.5); its context must have been accepted. Raises as `store`."""
        context_id = next(
            number for (abstract, _), number in self._contexts.items() if abstract == VERIFICATION
        )
        message_id = next(self._message_ids)
        command = encode_request(Operation.C_ECHO, message_id, (VERIFICATION, ""))
        self._send(encode_command(context_id, command, self._peer_pdu_bytes_max))
        return self._response(message_id)

    def store(
        self, uids: tuple[str, str], transfer_syntax: str, source: BinaryIO, size_bytes: int
    ) -> tuple[Response, str]:
        """A C-STORE of the next `size_bytes` of `source`; the response and their sha256.

        `uids` are SOP class and instance, whose context must have been accepted. Raises
        ConnectionLost, DeadlinePassed, ProtocolError: the peer may or may not have it then;
        EOFError where the source ends before its size.
        """
        context_id = self._contexts[(uids[0], transfer_syntax)]
        message_id = next(self._message_ids)
        command = encode_request(Operation.C_STORE, message_id, uids)
        digest = hashlib.sha256()
        pending = bytearray(encode_command(context_id, command, self._peer_pdu_bytes_max))
        for piece, is_last in self._pieces(source, size_bytes):
            digest.update(piece)
            pdv = struct.pack(">IBB", len(piece) + 2, context_id, 0x02 if is_last else 0x00)
            pending += encode_pdu(PduType.P_DATA, pdv + piece)
            if len(pending) >= _WRITE_BYTES:
                self._send(pending)
                pending = bytearray()
        if pending:
            self._send(pending)
        return self._response(message_id), digest.hexdigest()

    def release(self) -> None:
        """Ends the association in order (PS3.8 9.3.6), or at once where the peer does not answer.

        Every answer that counts was read before, so nothing is raised.
        """
        with contextlib.suppress(ConnectionLost, ProtocolError, TimeoutError):
            self._send(encode_pdu(PduType.RELEASE_RQ, bytes(4)))
            self._next()
        self._connection.close()

    def abort(self) -> None:
        """Ends the association without waiting."""
        with contextlib.suppress(ConnectionLost, TimeoutError):
            self._send(encode_abort(AbortReason.NOT_SPECIFIED))
        self._connection.close()

    def _associate(self, peer: Peer, contexts: Sequence[tuple[str, str]], deadline: float) -> None:
        request = encode_associate_request(peer, contexts, self._limits.pdu_bytes_max)
        self._connection.send(request, deadline)
        pdu = self._next()
        if pdu.pdu_type == PduType.ASSOCIATE_RJ and len(pdu.body) == 4:
            raise AssociationRejected(pdu.body[1], pdu.body[2], pdu.body[3])
        if pdu.pdu_type != PduType.ASSOCIATE_AC:
            raise ProtocolError(AbortReason.UNEXPECTED_PDU, "no answer to the A-ASSOCIATE-RQ")
        accepted, self._peer_pdu_bytes_max = decode_associate_accept(bytes(pdu.body))
        self._contexts = {
            context: 2 * index + 1
            for index, context in enumerate(contexts)
            if 2 * index + 1 in accepted
        }

    def _pieces(self, source: BinaryIO, size_bytes: int) -> Iterator[tuple[bytes, bool]]:
        limit = self._limits.pdu_bytes_max
        if self._peer_pdu_bytes_max:
            limit = min(limit, self._peer_pdu_bytes_max)
        # Fragments of even length, as the standard asks of every element (PS3.8 annex F).
        limit = (limit - PDV_HEADER_BYTES) & ~1
        rest = size_bytes
        while True:
            piece = source.read(min(limit, rest))
            if len(piece) < min(limit, rest):
                raise EOFError("file shorter than its data set")
            rest -= len(piece)
            yield piece, rest == 0
            if rest == 0:
                return

    def _response(self, message_id: int) -> Response:
        command = bytearray()
        while True:
            pdu = self._next()
            if pdu.pdu_type != PduType.P_DATA:
                raise ProtocolError(AbortReason.UNEXPECTED_PDU, "no response to a request")
            for fragment in fragments(pdu.body):
                command += fragment.data
                if not fragment.is_command or len(command) > COMMAND_SET_BYTES_MAX:
                    raise InvalidPdu("response is no command set")
                if fragment.is_last:
                    response = decode_response(bytes(command))
                    if response.message_id != message_id:
                        raise InvalidPdu("response to another message")
                    return response

    def _next(self) -> Pdu:
        pdu = self._reader.read(is_idle=True)
        if pdu.pdu_type == PduType.ABORT:
            raise ConnectionLost("peer aborted the association")
        return pdu

    def _send(self, data: bytes | bytearray) -> None:
        self._connection.send(data, time.monotonic() + self._limits.send_timeout_s)


def _connect(peer: Peer, timeout_s: float) -> Connection:
    try:
        connected = socket.create_connection((peer.host, peer.port), timeout=timeout_s)
    except OSError as cause:
        reason = cause.strerror or type(cause).__name__
        raise ConnectionLost(f"connecting to {peer.host}:{peer.port}: {reason}") from cause
    return Connection(connected, peer.host, None)
