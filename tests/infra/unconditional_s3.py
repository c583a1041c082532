"""A real S3 store as it was before conditional writes: `If-None-Match` is answered 501."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REQUEST_TIMEOUT_S = 40.0
NOT_IMPLEMENTED = (
    b"<?xml version='1.0'?><Error><Code>NotImplemented</Code>"
    b"<Message>A header you provided implies functionality that is not implemented.</Message>"
    b"</Error>"
)


@contextmanager
def unconditional(upstream: str) -> Iterator[tuple[str, list[str]]]:
    """Its endpoint, and the methods of the requests that it refused, for the length of a block."""
    refused: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if "If-None-Match" in self.headers:
                refused.append(self.command)
                self._answer(501, [("Content-Type", "application/xml")], NOT_IMPLEMENTED)
                return
            line = http.client.HTTPConnection(upstream, timeout=REQUEST_TIMEOUT_S)
            # The signature covers Host as it was sent, so it goes on as it came.
            line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                line.putheader(name, value)
            line.endheaders(body)
            answer = line.getresponse()
            data = answer.read()
            dropped = _HOP_BY_HOP if self.command == "HEAD" else _HOP_BY_HOP | {"content-length"}
            kept = [(n, v) for n, v in answer.getheaders() if n.lower() not in dropped]
            self._answer(answer.status, kept, data)
            line.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", refused
    finally:
        server.shutdown()
        server.server_close()


_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}
