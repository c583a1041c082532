"""`python -m load.lean_worker.null_receiver`: takes every C-STORE, keeps nothing, answers 0000.

Invariant: it costs as little as a receiver can, so that what a sender reaches against it is the
sender's own limit. On loopback only. Must not be taken for a receiver that anything is sent to.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import threading

from load.lean_worker.negotiation import (
    ASSOCIATE_AC,
    ASSOCIATE_RQ,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    InvalidAnswer,
    item,
    items,
    pdu,
)

_READ_BYTES = 64 * 1024
_DISCARD_BYTES = 4 * 1024 * 1024
_MSG_TRUNC = getattr(socket, "MSG_TRUNC", 0) if sys.platform == "linux" else 0
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)
_BACKLOG = 256
_MESSAGE_ID_TAG = b"\x00\x00\x10\x01\x02\x00\x00\x00"


class _Stream:
    """Bytes off a socket, read ahead; what is to be dropped is dropped inside the kernel."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._data = b""
        self._scrap = bytearray(_DISCARD_BYTES)

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises EOFError."""
        while len(self._data) < count:
            if _QUICKACK is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            more = self._socket.recv(_READ_BYTES)
            if not more:
                raise EOFError
            self._data += more
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def drop(self, count: int) -> None:
        """Passes over `count` bytes without copying those that are not here yet (tcp(7))."""
        here = min(count, len(self._data))
        self._data = self._data[here:]
        count -= here
        while count:
            dropped = self._socket.recv_into(self._scrap, min(count, _DISCARD_BYTES), _MSG_TRUNC)
            if not dropped:
                raise EOFError
            count -= dropped


def serve(connected: socket.socket, pdu_bytes_max: int, window: int) -> None:
    """Serves one association until it ends, however it ends."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = _Stream(connected)
    command = b""
    with connected:
        try:
            while True:
                kind, _, length = struct.unpack(">BBI", stream.take(6))
                if kind == P_DATA:
                    command = _take_data(stream, connected, length, command)
                elif kind == ASSOCIATE_RQ:
                    connected.sendall(_accept(stream.take(length), pdu_bytes_max, window))
                elif kind == RELEASE_RQ:
                    stream.drop(length)
                    connected.sendall(pdu(RELEASE_RP, bytes(4)))
                else:
                    return
        except (EOFError, OSError, InvalidAnswer):
            return  # the peer's end of it is what is measured


def _take_data(stream: _Stream, connected: socket.socket, length: int, command: bytes) -> bytes:
    """Passes over the PDVs of a PDU, answers a data set's last one; the command under way."""
    while length > 0:
        pdv_bytes, context_id, control = struct.unpack(">IBB", stream.take(6))
        if control & 1:
            command += stream.take(pdv_bytes - 2)
        else:
            stream.drop(pdv_bytes - 2)
            if control & 2:
                connected.sendall(_response(context_id, command))
                command = b""
        length -= 4 + pdv_bytes
    return command


def _response(context_id: int, command: bytes) -> bytes:
    """A C-STORE-RSP of the mandatory elements (PS3.7 9.3.1.2), status 0000."""
    at = command.find(_MESSAGE_ID_TAG) + len(_MESSAGE_ID_TAG)
    body = b"".join(
        struct.pack("<HHIH", 0, element, 2, value)
        for element, value in (
            (0x0100, 0x8001),
            (0x0120, int.from_bytes(command[at : at + 2], "little")),
            (0x0800, 0x0101),
            (0x0900, 0x0000),
        )
    )
    body = struct.pack("<HHII", 0, 0, 4, len(body)) + body
    return pdu(P_DATA, struct.pack(">IBB", len(body) + 2, context_id, 0x03) + body)


def _accept(request: bytes, pdu_bytes_max: int, window: int) -> bytes:
    """Every context with the first transfer syntax it names; a window where one is offered."""
    contexts, user = b"", item(0x51, struct.pack(">I", pdu_bytes_max))
    for kind, value in items(request, 68):
        if kind == 0x20:
            syntax = next((one for tag, one in items(value, 4) if tag == 0x40), b"")
            contexts += item(0x21, bytes((value[0], 0, 0, 0)) + item(0x40, syntax))
        elif kind == 0x50:
            offered = next((one for tag, one in items(value, 0) if tag == 0x53), b"")
            user += item(0x52, b"2.25.1")
            if len(offered) == 4 and window > 1:
                invoked = min(int.from_bytes(offered[:2], "big") or window, window)
                user += item(0x53, struct.pack(">HH", invoked, 1))
    body = struct.pack(">HH", 1, 0) + request[4:68]
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + item(0x50, user)
    return pdu(ASSOCIATE_AC, body)


def main() -> None:
    """Listens on a free port of loopback, prints it, and serves until it is ended."""
    parser = argparse.ArgumentParser(prog="null-receiver")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pdu-bytes", type=int, default=256 * 1024)
    parser.add_argument("--window", type=int, default=1)
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", options.port), backlog=_BACKLOG) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connected, _ = listener.accept()
            threading.Thread(
                target=serve, args=(connected, options.pdu_bytes, options.window), daemon=True
            ).start()


if __name__ == "__main__":
    main()
