"""A TCP proxy on loopback that shuts, cuts, delays, slows and stalls a line to a real engine.

Invariant: it alters no byte and keeps their order. What is done to the line may be changed at any
time, also for connections that are open.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

BLOCK_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 5.0
POLL_S = 0.05


class Line:
    """One connection through the proxy, both halves."""

    def __init__(
        self, client: socket.socket, server: socket.socket, watch: Callable[[bytes], None]
    ) -> None:
        self.client = client
        self.server = server
        self.watch = watch
        self.bytes_up = 0

    def end(self) -> None:
        """Both halves are closed; what waits on one of them wakes up."""
        for half in (self.client, self.server):
            with contextlib.suppress(OSError):
                half.shutdown(socket.SHUT_RDWR)
            half.close()


class TcpProxy:
    """Passes bytes to `host`:`port` while open; shut, it drops every connection, old and new."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._is_open = threading.Event()
        self._is_open.set()
        self._lock = threading.Lock()
        self._lines: set[Line] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.endpoint = f"127.0.0.1:{self.port}"
        self.refused = 0
        self.delay_s = 0.0
        self.bytes_per_s_up: int | None = None
        self.cut_answers_after_bytes_up: int | None = None
        self.is_stalled = threading.Event()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def cut(self) -> None:
        """Ends every connection at once; new ones are passed on."""
        with self._lock:
            lines, self._lines = self._lines, set()
        for line in lines:
            line.end()

    def shut(self) -> None:
        """Cuts what is connected and refuses what comes."""
        self._is_open.clear()
        self.cut()

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
                client.close()
                continue
            try:
                server = socket.create_connection(self._target, CONNECT_TIMEOUT_S)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            line = Line(client, server, self._watcher())
            if self._keeps(line):
                self._serve(line)
            else:
                self.refused += 1

    def _keeps(self, line: Line) -> bool:
        """Whether the connection may go on; it may not when the proxy was shut meanwhile."""
        with self._lock:
            if self._is_open.is_set():
                self._lines.add(line)
                return True
        line.end()
        return False

    def _watcher(self) -> Callable[[bytes], None]:
        """What is shown the bytes that go to the target on one connection."""
        return _ignore

    def _serve(self, line: Line) -> None:
        """Starts the threads that serve one connection."""
        for pump in (self._pump_up, self._pump_down):
            threading.Thread(target=self._until_end, args=(pump, line), daemon=True).start()

    def _until_end(self, pump: Callable[[Line], None], line: Line) -> None:
        with contextlib.suppress(OSError, ValueError):
            pump(line)
        line.end()
        with self._lock:
            self._lines.discard(line)

    def _pump_up(self, line: Line) -> None:
        while data := line.client.recv(BLOCK_BYTES):
            self.pass_up(line, data)

    def _pump_down(self, line: Line) -> None:
        while data := line.server.recv(BLOCK_BYTES):
            limit = self.cut_answers_after_bytes_up
            if limit is not None and line.bytes_up > limit:
                return
            self.pass_down(line, data)

    def pass_up(self, line: Line, data: bytes) -> None:
        """One block to the server, as the line is now."""
        line.watch(data)
        self._hold_up()
        if self.bytes_per_s_up:
            time.sleep(len(data) / self.bytes_per_s_up)
        line.server.sendall(data)
        line.bytes_up += len(data)

    def pass_down(self, line: Line, data: bytes) -> None:
        """One block to the client, as the line is now."""
        self._hold_up()
        line.client.sendall(data)

    def _hold_up(self) -> None:
        if self.delay_s:
            time.sleep(self.delay_s)
        while self.is_stalled.is_set() and self._is_open.is_set():
            time.sleep(POLL_S)


def _ignore(data: bytes) -> None:
    """Nobody looks."""
