"""One association of the lean sender: connect, associate, C-STORE without blocking, release.

Invariant: no call waits for the peer, and whatever the peer does ends in `LaneLost` with its name.
Must not choose what is sent, nor when.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from enum import IntEnum

from load.lean_worker.job import Settings
from load.lean_worker.negotiation import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    InvalidAnswer,
    decode_accept,
    pdu,
)

# A CT goes to the kernel in one call; what it does not take at once goes when it has room.
_SEND_BUFFER_BYTES = 1024 * 1024
_READ_BYTES = 16 * 1024
_ANSWER_BYTES_MAX = 256 * 1024
_MESSAGE_ID_MAX = 0xFFFF
_C_STORE_RSP = 0x8001
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)
_ABORT = pdu(ABORT, bytes(4))


class State(IntEnum):
    """Where an association is."""

    CLOSED = 0
    CONNECTING = 1
    ASSOCIATING = 2
    OPEN = 3
    RELEASING = 4
    GIVEN_UP = 5


class LaneLost(Exception):
    """The association is over before its time; the text is the problem's name."""


class Lane:
    """An association that can be opened again. Used by one thread."""

    def __init__(self, settings: Settings, associate_request: bytes) -> None:
        self.state = State.CLOSED
        self.window = 1
        self.fragment_bytes_max = settings.pdu_bytes
        self.accepted: frozenset[int] = frozenset()
        # message id → the instance's number, oldest first
        self.in_flight: dict[int, int] = {}
        # message id and status, until the sender takes them; they outlive a lost association
        self.responses: list[tuple[int, int]] = []
        self.is_offered = False
        self.heads: dict[int, bytearray] = {}
        self.reconnects = 0
        self.deadline_ns = 0
        self.wants_write = False
        self.socket = socket.socket()
        self._settings = settings
        self._request = associate_request
        self._message_id = 0
        self._unsent: list[memoryview] = []
        self._inbound = b""
        self._command = b""

    def connect(self) -> None:
        """Begins; `go_on` continues when the socket can be written. Raises LaneLost."""
        self.socket.close()
        host, port = self._settings.host, self._settings.port
        try:
            family, kind, proto, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )[0]
            self.socket = socket.socket(family, kind, proto)
            self.socket.setblocking(False)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            code = self.socket.connect_ex(address)
        except OSError as cause:
            raise LaneLost(_name(cause)) from cause
        if code not in (0, errno.EINPROGRESS):
            raise LaneLost(_name(OSError(code, "")))
        self.state = State.CONNECTING
        self.wants_write = True
        self._inbound, self._command, self._unsent = b"", b"", []

    @property
    def has_room(self) -> bool:
        """Whether one more C-STORE may be sent now."""
        return (
            self.state == State.OPEN and len(self.in_flight) < self.window and not self.wants_write
        )

    def next_message_id(self) -> int:
        """The id of the next request; in turn, so that none in flight has it."""
        self._message_id = self._message_id % _MESSAGE_ID_MAX + 1
        return self._message_id

    def send(self, head: bytes | bytearray, tail: bytes = b"") -> None:
        """Hands both to the kernel, or as much as it takes now. They must stay as they are until
        `wants_write` is false. Raises LaneLost."""
        try:
            sent = self.socket.sendmsg((head, tail)) if tail else self.socket.send(head)
        except BlockingIOError:
            sent = 0
        except OSError as cause:
            raise self._last_word(cause) from cause
        if sent < len(head) + len(tail):
            views = [memoryview(head), memoryview(tail)]
            if sent > len(head):
                views = [views[1][sent - len(head) :]]
            else:
                views[0] = views[0][sent:]
            self._unsent = [view for view in views if view]
            self.wants_write = True

    def go_on(self) -> None:
        """The socket can be written: sends what is left. Raises LaneLost."""
        if self.state == State.CONNECTING:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise LaneLost(_name(OSError(code, "")))
            self.state = State.ASSOCIATING
            self.wants_write = False
            self.send(self._request)
            return
        while self._unsent:
            try:
                sent = self.socket.send(self._unsent[0])
            except BlockingIOError:
                return
            except OSError as cause:
                raise self._last_word(cause) from cause
            rest = self._unsent[0][sent:]
            if rest:
                self._unsent[0] = rest
                return
            del self._unsent[0]
        self.wants_write = False

    def receive(self) -> None:
        """Takes what has come: `responses`, or another state. Raises LaneLost."""
        try:
            if _QUICKACK is not None:
                # Linux takes it back by itself; a peer with Nagle on would wait 40 ms for our ACK.
                self.socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as cause:
            raise LaneLost(_name(cause)) from cause
        if not data:
            raise LaneLost("closed by the peer")
        self._take(self._inbound + data if self._inbound else data)

    def release(self) -> None:
        """Asks for the end (PS3.8 9.3.6). Raises LaneLost."""
        self.state = State.RELEASING
        self.send(pdu(RELEASE_RQ, bytes(4)))

    def close(self, is_abort: bool = False) -> None:
        """Frees the descriptor; the peer hears an A-ABORT where one is due."""
        if is_abort and self.state in (State.ASSOCIATING, State.OPEN) and not self.wants_write:
            # Gone already is what the A-ABORT would have asked for.
            with contextlib.suppress(OSError):
                self.socket.send(_ABORT)
        self.socket.close()
        self.state = State.CLOSED
        self.wants_write = False
        self._unsent = []

    def _last_word(self, cause: OSError) -> LaneLost:
        """Why a send failed: what the peer said before it closed, if it is there to be read."""
        try:
            self.receive()
        except LaneLost as fault:
            if str(fault) not in (_name(cause), "closed by the peer"):
                return fault
        return LaneLost(_name(cause))

    def _take(self, data: bytes) -> None:
        position, end = 0, len(data)
        while end - position >= 6:
            finish = position + 6 + int.from_bytes(data[position + 2 : position + 6], "big")
            if finish - position > _ANSWER_BYTES_MAX:
                raise LaneLost("protocol: a PDU over its limit")
            if finish > end:
                break
            kind = data[position]
            if kind == P_DATA:
                self._take_data(data, position + 6, finish)
            else:
                self._take_other(kind, data[position + 6 : finish])
            position = finish
        self._inbound = data[position:]

    def _take_data(self, data: bytes, position: int, end: int) -> None:
        if self.state not in (State.OPEN, State.RELEASING):
            raise LaneLost("protocol: P-DATA outside an association")
        while position < end:
            length = int.from_bytes(data[position : position + 4], "big")
            finish = position + 4 + length
            if length < 2 or finish > end:
                raise LaneLost("protocol: a PDV outside its PDU")
            control = data[position + 5]
            self._command += data[position + 6 : finish]
            if not control & 1 or len(self._command) > _ANSWER_BYTES_MAX:
                raise LaneLost("protocol: a response that is no command set")
            if control & 2:
                self.responses.append(_response(self._command))
                self._command = b""
            position = finish

    def _take_other(self, kind: int, body: bytes) -> None:
        if kind == ASSOCIATE_AC and self.state == State.ASSOCIATING:
            try:
                answer = decode_accept(body, self._settings.window)
            except InvalidAnswer as fault:
                raise LaneLost(f"protocol: {fault}") from fault
            self.accepted, self.window = answer.accepted, answer.window
            if answer.pdu_bytes_max:
                self.fragment_bytes_max = min(self._settings.pdu_bytes, answer.pdu_bytes_max)
            self.state = State.OPEN
        elif kind == ASSOCIATE_RJ and len(body) == 4:
            raise LaneLost(f"rejected {body[1]}/{body[2]}/{body[3]}")
        elif kind == ABORT and len(body) == 4:
            raise LaneLost(f"aborted {body[2]}/{body[3]}")
        elif kind == RELEASE_RP and self.state == State.RELEASING:
            self.close()
        elif kind == RELEASE_RQ:
            raise LaneLost("released by the peer")
        else:
            raise LaneLost(f"protocol: PDU type {kind:#04x} out of turn")


def _response(command: bytes) -> tuple[int, int]:
    """Message id and status of a C-STORE-RSP (PS3.7 9.3.1.2). Raises LaneLost."""
    field = message_id = status = -1
    position, end = 0, len(command)
    try:
        while position < end:
            tag, length = struct.unpack_from("<II", command, position)
            # group 0000 first in the file: the element is the upper half
            if tag == 0x01000000:
                (field,) = struct.unpack_from("<H", command, position + 8)
            elif tag == 0x01200000:
                (message_id,) = struct.unpack_from("<H", command, position + 8)
            elif tag == 0x09000000:
                (status,) = struct.unpack_from("<H", command, position + 8)
            position += 8 + length
    except struct.error as cause:
        raise LaneLost("protocol: a command set cut short") from cause
    if field != _C_STORE_RSP or message_id < 0 or status < 0:
        raise LaneLost("protocol: no C-STORE-RSP")
    return message_id, status


def _name(cause: OSError) -> str:
    if isinstance(cause, socket.gaierror):
        return "host unknown"
    names = {
        errno.ECONNREFUSED: "refused",
        errno.ECONNRESET: "reset",
        errno.EPIPE: "reset",
        errno.ETIMEDOUT: "timed out",
        errno.EHOSTUNREACH: "unreachable",
        errno.ENETUNREACH: "unreachable",
    }
    code = cause.errno or 0
    return names.get(code) or errno.errorcode.get(code, "lost")
