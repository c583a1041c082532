"""A TCP proxy on loopback that slows, stalls and cuts what passes through it.

Invariant: it alters no byte. Tests use it to put a bad line between a client and a real engine.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType

BLOCK_BYTES = 16 * 1024
POLL_S = 0.05


class StallProxy:
    """Forwards to `upstream` (host:port) from a port of its own until the block is left."""

    def __init__(self, upstream: str, port: int = 0) -> None:
        host, _, upstream_port = upstream.rpartition(":")
        self._upstream = (host, int(upstream_port))
        self._listener = socket.create_server(("127.0.0.1", port))
        self._sockets: set[socket.socket] = set()
        self._is_open = True
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        # What to do to the line; may be changed at any time.
        self.bytes_per_s_up: int | None = None
        self.cut_answers_after_bytes_up: int | None = None
        self.is_stalled = threading.Event()

    def __enter__(self) -> StallProxy:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_open = False
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Ends every connection at once."""
        for each in list(self._sockets):
            self._drop(each)

    def _accept(self) -> None:
        while self._is_open:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream, 10)
            except OSError:
                continue
            self._sockets |= {client, server}
            line = _Line(client, server)
            for pump in (self._pump_up, self._pump_down):
                threading.Thread(target=pump, args=(line,), daemon=True).start()

    def _pump_up(self, line: _Line) -> None:
        with contextlib.suppress(OSError):
            while data := line.client.recv(BLOCK_BYTES):
                self._wait_while_stalled()
                if self.bytes_per_s_up:
                    time.sleep(len(data) / self.bytes_per_s_up)
                line.server.sendall(data)
                line.bytes_up += len(data)
        self._drop(line.server)
        self._drop(line.client)

    def _pump_down(self, line: _Line) -> None:
        with contextlib.suppress(OSError):
            while data := line.server.recv(BLOCK_BYTES):
                self._wait_while_stalled()
                limit = self.cut_answers_after_bytes_up
                if limit is not None and line.bytes_up > limit:
                    break
                line.client.sendall(data)
        self._drop(line.server)
        self._drop(line.client)

    def _wait_while_stalled(self) -> None:
        while self.is_stalled.is_set() and self._is_open:
            time.sleep(POLL_S)

    def _drop(self, each: socket.socket) -> None:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
        self._sockets.discard(each)


class _Line:
    """One connection through the proxy, both halves."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.bytes_up = 0
