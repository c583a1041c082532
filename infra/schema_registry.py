"""A read-only Schema Registry endpoint, so that common tools can read the topics.

Invariant: it answers from the schema files alone and never changes or stores anything; our own
codec never asks it. REST form and error codes: Confluent Schema Registry API, v1.

    python -m infra.schema_registry --settings FILE
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import orjson

from contracts.failures import EXIT_FATAL, EXIT_OK, FatalError
from infra.schema_answers import Answer, RegistryAnswers
from infra.settings import RegistrySettings, load
from infra.telemetry import configure_logging, logger

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
REQUEST_BYTES_MAX = 1024 * 1024
IDLE_TIMEOUT_S = 30.0


class SchemaRegistry:
    """The endpoint; serves from `start` to `stop`."""

    def __init__(self, registry: RegistrySettings) -> None:
        """Binds the port. Raises FatalError when it is taken."""
        try:
            self._server = ThreadingHTTPServer((registry.bind, registry.port), _handler())
        except OSError as cause:
            raise FatalError(
                f"binding {registry.bind}:{registry.port}: {cause.strerror}",
                "free the port, or set schema_registry.port",
            ) from cause
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        """Serves from a daemon thread."""
        serve = self._server.serve_forever
        threading.Thread(target=serve, name="registry", daemon=True).start()

    def stop(self) -> None:
        """Closes the port."""
        self._server.shutdown()
        self._server.server_close()


def _handler() -> type[BaseHTTPRequestHandler]:
    answers = RegistryAnswers()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = IDLE_TIMEOUT_S
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            body = self._body()
            if body is None:
                self.close_connection = True
                return self._send(Answer(413, {"error_code": 413, "message": "body too large"}))
            path = [unquote(part) for part in urlsplit(self.path).path.split("/") if part]
            return self._send(answers.answer(self.command, path, body))

        do_GET = do_POST = do_PUT = do_DELETE = _answer

        def _body(self) -> bytes | None:
            declared = self.headers.get("Content-Length", "0")
            if not declared.isdigit() or int(declared) > REQUEST_BYTES_MAX:
                return None
            return self.rfile.read(int(declared))

        def _send(self, answer: Answer) -> None:
            body = orjson.dumps(answer.body)
            head = (
                f"HTTP/1.1 {answer.status} \r\nContent-Type: {CONTENT_TYPE}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            self.wfile.write(head.encode() + body)

        def log_message(self, format: str, *args: object) -> None:
            return  # look-ups are not events

    return Handler


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.schema_registry")
    parser.add_argument("--settings", type=Path, required=True)
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    configure_logging("schema-registry", "info")
    log = logger("schema-registry")
    try:
        settings = load(options.settings)
        registry = SchemaRegistry(settings.schema_registry)
    except FatalError as failure:
        log.error("stopped", reason=str(failure), next_step=failure.next_step)
        return EXIT_FATAL
    registry.start()
    log.info("serving", port=registry.port)
    stop.wait()
    registry.stop()
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
