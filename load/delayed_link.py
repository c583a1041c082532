"""A link that is far away: what goes in comes out later, in both directions, however much it is.

Invariant: bytes are neither changed nor reordered, and none comes out before its time. All of it is
on loopback, and what is on its way is bounded.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CHUNK_BYTES = 256 * 1024
# 256 MiB on their way: more than any window of operations of CT images.
_CHUNKS_MAX = 1024
_CONNECT_TIMEOUT_S = 5.0
_END_WITHIN_S = 5.0


@contextmanager
def delayed_link(host: str, port: int, delay_s: float) -> Iterator[int]:
    """The port of loopback that leads to `host` and `port`, `delay_s` away each way."""
    link = _Link((host, port), delay_s)
    try:
        yield link.port
    finally:
        link.close()


class _Link:
    def __init__(self, target: tuple[str, int], delay_s: float) -> None:
        self._target = target
        self._delay_s = delay_s
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._run(self._accept)

    def close(self) -> None:
        """Ends every connection, and returns when no thread of it is left."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            sockets, threads = list(self._sockets), list(self._threads)
        for connection in sockets:
            _end(connection)
        for thread in threads:
            thread.join(_END_WITHIN_S)
        for connection in sockets:
            connection.close()

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target, _CONNECT_TIMEOUT_S)
            except OSError:
                return
            far.settimeout(None)
            with self._lock:
                self._sockets += [near, far]
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink in ((near, far), (far, near)):
                under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(_CHUNKS_MAX)
                self._run(self._take, source, under_way)
                self._run(self._deliver, under_way, sink)

    def _take(self, source: socket.socket, under_way: queue.Queue[tuple[float, bytes]]) -> None:
        data = b"-"
        while data:
            try:
                data = source.recv(_CHUNK_BYTES)
            except OSError:
                data = b""
            under_way.put((time.monotonic() + self._delay_s, data))

    def _deliver(self, under_way: queue.Queue[tuple[float, bytes]], sink: socket.socket) -> None:
        is_open = True
        while True:
            due_s, data = under_way.get()
            time.sleep(max(0.0, due_s - time.monotonic()))
            if not data:
                _end(sink, socket.SHUT_WR)
                return
            try:
                if is_open:
                    sink.sendall(data)
            except OSError:
                # Taken on to its end all the same: who puts must not wait for ever.
                is_open = False


def _end(connection: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(how)
