"""A receiver that does to a sender what a test says, over real sockets.

Invariant: it keeps every data set it took whole, by SOP Instance UID; it ends with its block.
"""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pydicom

from load.lean_worker.negotiation import item, items, pdu
from load.senders import Target

LISTEN_BACKLOG = 64


@dataclass
class Script:
    """What the peer does. `statuses` are answered in turn; a number of instances after which it
    aborts or closes the connection, or stops answering; a window makes it answer by whole
    windows, in reverse."""

    statuses: tuple[int, ...] = (0x0000,)
    reject: tuple[int, int, int] | None = None
    abort_after: int | None = None
    close_after: int | None = None
    stall_after: int | None = None
    # In the middle of the first data set: A-ABORT with the rest unread, or no more reading.
    aborts_inside: bool = False
    stalls_inside: bool = False
    window: int = 1
    pdu_bytes_max: int = 16384
    refuses_contexts: bool = False
    # By SOP Instance UID, before all else: a status, or None for an A-ABORT.
    answers: dict[str, int | None] = field(default_factory=dict)


@dataclass
class ScriptedPeer:
    """The peer and what it has seen."""

    target: Target
    script: Script
    stored: dict[str, bytes] = field(default_factory=dict)
    associations: int = 0
    requests: list[bytes] = field(default_factory=list)
    in_flight_max: int = 0
    stop: threading.Event = field(default_factory=threading.Event)


@contextmanager
def scripted_peer(script: Script) -> Iterator[ScriptedPeer]:
    """Accepts until the block ends."""
    with socket.create_server(("127.0.0.1", 0), backlog=LISTEN_BACKLOG) as listener:
        peer = ScriptedPeer(Target("127.0.0.1", listener.getsockname()[1], "SCRIPTED"), script)
        threading.Thread(target=_accept, args=(listener, peer), daemon=True).start()
        try:
            yield peer
        finally:
            peer.stop.set()
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, peer: ScriptedPeer) -> None:
    with contextlib.suppress(OSError):
        while True:
            connected, _ = listener.accept()
            threading.Thread(target=_serve, args=(connected, peer), daemon=True).start()


def _serve(connected: socket.socket, peer: ScriptedPeer) -> None:
    peer.associations += 1
    with connected, contextlib.suppress(OSError, EOFError):
        kind, request = _read_pdu(connected)
        if kind != 1:
            return
        peer.requests.append(request)
        if peer.script.reject is not None:
            connected.sendall(pdu(3, bytes((0, *peer.script.reject))))
            return
        connected.sendall(_accept_answer(request, peer.script))
        _serve_association(connected, peer)


def _serve_association(connected: socket.socket, peer: ScriptedPeer) -> None:
    script = peer.script
    pending: list[tuple[int, bytes]] = []
    command, data, taken = b"", bytearray(), 0
    while True:
        kind, body = _read_pdu(connected)
        if kind == 5:
            connected.sendall(pdu(6, bytes(4)))
            return
        if kind != 4:
            return
        position = 0
        while position < len(body):
            length, context_id, control = struct.unpack_from(">IBB", body, position)
            piece = body[position + 6 : position + 4 + length]
            position += 4 + length
            if control & 1:
                command += piece
                continue
            data += piece
            if script.aborts_inside:
                connected.sendall(pdu(7, bytes((0, 0, 2, 0))))
                return
            if script.stalls_inside:
                peer.stop.wait()
                return
            if control & 2:
                if taken in (script.abort_after, script.close_after):
                    if script.abort_after is not None:
                        connected.sendall(pdu(7, bytes((0, 0, 2, 0))))
                    return
                if taken == script.stall_after:
                    peer.stop.wait()
                    return
                elements = _elements(command)
                uid = elements[0x1000].rstrip(b"\0").decode()
                if script.answers.get(uid, 0) is None:
                    connected.sendall(pdu(7, bytes((0, 0, 2, 0))))
                    return
                peer.stored[uid] = bytes(data)
                planned = script.statuses[taken % len(script.statuses)]
                status = script.answers.get(uid) or planned
                pending.append((context_id, elements[0x0110]))
                peer.in_flight_max = max(peer.in_flight_max, len(pending))
                if len(pending) == script.window or not _more_to_read(connected):
                    for number, message_id in reversed(pending):
                        connected.sendall(_response(number, message_id, status))
                    pending.clear()
                taken += 1
                command, data = b"", bytearray()


def _more_to_read(connected: socket.socket) -> bool:
    connected.settimeout(0.2)
    try:
        return bool(connected.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        connected.settimeout(None)


def _response(context_id: int, message_id: bytes, status: int) -> bytes:
    body = b"".join(
        struct.pack("<HHI", 0, element, 2) + value
        for element, value in (
            (0x0100, b"\x01\x80"),
            (0x0120, message_id),
            (0x0800, b"\x01\x01"),
            (0x0900, struct.pack("<H", status)),
        )
    )
    body = struct.pack("<HHII", 0, 0, 4, len(body)) + body
    return pdu(4, struct.pack(">IBB", len(body) + 2, context_id, 3) + body)


def _accept_answer(request: bytes, script: Script) -> bytes:
    result = 3 if script.refuses_contexts else 0
    contexts = b""
    for kind, value in items(request, 68):
        if kind == 0x20:
            syntax = next(one for tag, one in items(value, 4) if tag == 0x40)
            contexts += item(0x21, bytes((value[0], 0, result, 0)) + item(0x40, syntax))
    user = item(0x51, struct.pack(">I", script.pdu_bytes_max)) + item(0x52, b"2.25.1")
    if script.window > 1:
        user += item(0x53, struct.pack(">HH", script.window, 1))
    body = struct.pack(">HH", 1, 0) + request[4:68]
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + item(0x50, user)
    return pdu(2, body)


def _elements(command: bytes) -> dict[int, bytes]:
    """The command set read by pydicom: another reading than the sender's writing."""
    found = pydicom.dcmread(io.BytesIO(command), force=True)
    return {
        0x0110: struct.pack("<H", found[0x0000, 0x0110].value),
        0x1000: str(found[0x0000, 0x1000].value).encode(),
    }


def _read_pdu(connected: socket.socket) -> tuple[int, bytes]:
    kind, _, length = struct.unpack(">BBI", _exactly(connected, 6))
    return kind, _exactly(connected, length)


def _exactly(connected: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connected.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
