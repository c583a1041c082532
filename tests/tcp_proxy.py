"""A TCP proxy that can be shut: engines go away and come back without being restarted."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

CHUNK_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 5.0


class TcpProxy:
    """Passes bytes to `target` while open; shut, it drops every connection, old and new."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._is_open = threading.Event()
        self._is_open.set()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.refused = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        """Cuts what is connected and refuses what comes."""
        self._is_open.clear()
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for connection in sockets:
            _end(connection)

    def open(self) -> None:
        """Passes connections again."""
        self._is_open.set()

    def close(self) -> None:
        """Ends the proxy."""
        self.shut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._is_open.is_set():
                self.refused += 1
                _end(client)
                continue
            try:
                server = socket.create_connection(self._target, CONNECT_TIMEOUT_S)
            except OSError:
                _end(client)
                continue
            server.settimeout(None)
            if not self._keeps(client, server):
                self.refused += 1
                continue
            for line in ((client, server, self._watcher()), (server, client, _ignore)):
                threading.Thread(target=self._pass_on, args=line, daemon=True).start()

    def _keeps(self, client: socket.socket, server: socket.socket) -> bool:
        """Whether the connection may go on; it may not when the proxy was shut meanwhile."""
        with self._lock:
            if self._is_open.is_set():
                self._sockets |= {client, server}
                return True
        _end(client)
        _end(server)
        return False

    def _watcher(self) -> Callable[[bytes], None]:
        """What is shown the bytes that go to the target on one connection."""
        return _ignore

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, watch: Callable[[bytes], None]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                watch(data)
                sink.sendall(data)
        _end(source)
        _end(sink)
        with self._lock:
            self._sockets -= {source, sink}


def _ignore(data: bytes) -> None:
    """Nobody looks."""


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
