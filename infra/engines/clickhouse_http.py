"""ClickHouse's HTTP protocol in front of an Engine, as far as clickhouse-connect speaks it.

Invariant: head and body of an answer leave in one send, so keep-alive never meets Nagle's
delayed acknowledgement (40 ms a query otherwise, measured). A failure carries ClickHouse's code.
It must not serve more than loopback clients of one user: there is no access control beyond that.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from infra.engines.clickhouse_body import BodyError, BodyTooLarge, RequestBody, receive_body
from infra.engines.clickhouse_engine import (
    CODE_SYNTAX_ERROR,
    CODE_TOO_LARGE,
    Engine,
    EngineError,
    Progress,
)
from infra.engines.clickhouse_request import HTTP_STATUS, read_request, summary

CONNECTIONS_MAX = 256
IDLE_TIMEOUT_S = 3600.0
REQUEST_TIMEOUT_S = 120.0
# A result up to this size leaves as one piece with its length, and its late errors are clean.
BUFFERED_BYTES = 4 << 20
DRAIN_TIMEOUT_S = 10.0


class ClickHouseHttpServer(ThreadingHTTPServer):
    """Serves one Engine; one thread per connection, CONNECTIONS_MAX of them."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], engine: Engine) -> None:
        super().__init__(address, _Handler)
        self.engine = engine
        self.is_stopping = threading.Event()
        self._connections = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._changed = threading.Condition()
        self._busy = 0

    def process_request(self, request: object, client_address: object) -> None:
        """Refuses by closing what passes CONNECTIONS_MAX; a client then tries again."""
        if self._connections.acquire(blocking=False):
            super().process_request(request, client_address)  # type: ignore[arg-type]
        else:
            self.shutdown_request(request)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Serves one connection to its end and gives its place back."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._connections.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error of ours; anything else would have been answered."""

    def track(self, change: int) -> None:
        """Count requests in work, so that a stop can wait for them."""
        with self._changed:
            self._busy += change
            self._changed.notify_all()

    def drain(self) -> bool:
        """Take no new request and wait for those in work; False when DRAIN_TIMEOUT_S passed."""
        self.is_stopping.set()
        self.shutdown()
        self.server_close()
        with self._changed:
            return self._changed.wait_for(lambda: self._busy == 0, DRAIN_TIMEOUT_S)


class _Handler(BaseHTTPRequestHandler):
    server: ClickHouseHttpServer
    protocol_version = "HTTP/1.1"
    server_version = "Hilum-ClickHouse"
    timeout = IDLE_TIMEOUT_S

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a request line carries the statement, and with it patients' names."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path in ("/ping", "/replicas_status") or self.path == "/":
            self._send(200, b"Ok.\n", {})
        else:
            self._serve({"readonly": "1"})

    def do_HEAD(self) -> None:
        self._send(200, b"", {})

    def do_POST(self) -> None:
        self._serve({})

    def _serve(self, forced_settings: dict[str, str]) -> None:
        """One statement: read all of it, run it, answer; broken framing ends the connection."""
        body: RequestBody | None = None
        self.server.track(+1)
        try:
            self.connection.settimeout(REQUEST_TIMEOUT_S)
            headers = self.headers
            body = receive_body(
                self.rfile,
                headers["Content-Length"],
                headers["Transfer-Encoding"],
                headers["Content-Encoding"],
            )
            if self.server.is_stopping.is_set():
                self._send(503, b"stopping\n", {})
            else:
                self._answer(body, forced_settings)
        except BodyTooLarge as error:
            self.close_connection = True
            self._refuse(CODE_TOO_LARGE, str(error))
        except BodyError as error:
            self.close_connection = True
            self._refuse(CODE_SYNTAX_ERROR, str(error))
        except EngineError as error:
            self._refuse(error.code, str(error))
        except (OSError, TimeoutError):
            self.close_connection = True
        finally:
            if body is not None:
                body.close()
            self.connection.settimeout(IDLE_TIMEOUT_S)
            self.server.track(-1)

    def _answer(self, body: RequestBody, forced_settings: dict[str, str]) -> None:
        request = read_request(self.path, self.headers, body, forced_settings)
        started = time.monotonic_ns()
        head = {
            "X-ClickHouse-Format": request.output,
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Server-Display-Name": "hilum",
            "X-ClickHouse-Query-Id": request.query_id,
        }
        # Closing gives the engine's slot back at once when the client goes away in mid-result.
        with closing(
            self.server.engine.run(request.statement, request.session, request.output, request.data)
        ) as pieces:
            self._send_pieces(pieces, head, started)

    def _send_pieces(
        self, pieces: Iterator[tuple[bytes, Progress]], head: dict[str, str], started: int
    ) -> None:
        """Up to BUFFERED_BYTES with their length in one send, a longer result in chunks."""
        first: list[bytes] = []
        size_bytes = 0
        progress = Progress()
        for piece, so_far in pieces:
            first.append(piece)
            size_bytes += len(piece)
            progress = so_far
            if size_bytes > BUFFERED_BYTES:
                break
        else:
            head["X-ClickHouse-Summary"] = summary(progress, started)
            self._send(200, b"".join(first), head)
            return
        self._send_chunked(b"".join(first), pieces, head)

    def _send_chunked(
        self, first: bytes, pieces: Iterator[tuple[bytes, Progress]], head: dict[str, str]
    ) -> None:
        self._write([self._head(200, head | {"Transfer-Encoding": "chunked"}), *_chunk(first)])
        try:
            for piece, _ in pieces:
                if piece:
                    self._write(_chunk(piece))
            self._write([b"0\r\n\r\n"])
        except EngineError:
            # Too late for a status: without the last chunk no client takes this as complete.
            self.close_connection = True

    def _refuse(self, code: int, message: str) -> None:
        text = str(EngineError(code, message))
        head = {"X-ClickHouse-Exception-Code": str(code)}
        self._send(HTTP_STATUS.get(code, 500), text.encode() + b"\n", head)

    def _send(self, status: int, body: bytes, head: dict[str, str]) -> None:
        self._write([self._head(status, head | {"Content-Length": str(len(body))}), body])

    def _head(self, status: int, head: dict[str, str]) -> bytes:
        if self.server.is_stopping.is_set():
            self.close_connection = True
        connection = "close" if self.close_connection else "Keep-Alive"
        lines = [f"HTTP/1.1 {status} {self.responses[status][0]}"]
        # A query_id or format from the target may hold line ends; a header must not.
        lines += [f"{name}: {' '.join(value.split())}" for name, value in head.items()]
        lines += [f"Connection: {connection}", "Content-Type: text/plain; charset=UTF-8"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _write(self, parts: list[bytes]) -> None:
        """All parts in one sendmsg; what the socket did not take follows."""
        sent = self.connection.sendmsg(parts)
        if sent < sum(map(len, parts)):
            self.connection.sendall(memoryview(b"".join(parts))[sent:])


def _chunk(data: bytes) -> list[bytes]:
    return [f"{len(data):x}\r\n".encode(), data, b"\r\n"]
