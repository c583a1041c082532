"""Logs as JSON lines, metrics by the list, and the HTTP endpoint of a process.

Invariant: log lines carry ids and counts, never a header's values; readiness says its reason.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from infra.metric_list import METRICS, MetricName

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
Logger = structlog.stdlib.BoundLogger


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a process does its work, and why not (or what it does without)."""

    is_ready: bool
    reason: str


class Metrics:
    """The metrics of one process; unknown names do not type-check."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        makers: dict[str, type[Any]] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
        self._metrics: dict[str, Any] = {
            metric.name: makers[metric.kind](
                metric.name, metric.meaning, metric.labels, registry=self.registry
            )
            for metric in METRICS
        }

    def count(self, name: MetricName, by: float = 1, **labels: str) -> None:
        """Adds to a counter."""
        self._labelled(name, labels).inc(by)

    def gauge(self, name: MetricName, value: float, **labels: str) -> None:
        """Sets a gauge."""
        self._labelled(name, labels).set(value)

    def observe(self, name: MetricName, seconds: float, **labels: str) -> None:
        """Adds an observation to a histogram."""
        self._labelled(name, labels).observe(seconds)

    def _labelled(self, name: str, labels: dict[str, str]) -> Any:
        metric = self._metrics[name]
        return metric.labels(**labels) if labels else metric


def configure_logging(process: str, level: Literal["debug", "info", "warning", "error"]) -> None:
    """JSON lines on stderr, each with time, level, process and event; libraries from warning on."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _named(process),
            structlog.processors.JSONRenderer(serializer=_to_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LibraryLine(process))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(True)
    # It warns of each of its own steps that took 100 ms, which on a busy machine is all of them.
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)


class _LibraryLine(logging.Formatter):
    """A library's word in the form of ours: who reads the lines reads one form."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "area": record.name,
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "process": self._process,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _to_json(line)


def logger(area: str) -> Logger:
    """A logger whose lines carry `area`."""
    bound: Logger = structlog.get_logger(area=area)
    return bound


class ProcessEndpoint:
    """`/metrics`, `/livez` and `/readyz` of one process on its own port.

    `readyz` answers 200 or 503 with `{"ready": bool, "reason": str}`; any other path 404.
    `before_scrape` runs at each `/metrics`, in the thread of its request: for values that would
    otherwise be as old as the process's own interval.
    """

    def __init__(
        self,
        bind: str,
        port: int,
        metrics: Metrics,
        readiness: Callable[[], Readiness],
        *,
        before_scrape: Callable[[], None] = lambda: None,
    ) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._before_scrape = before_scrape
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def do_GET(self) -> None:
                status, content_type, body = endpoint.answer(self.path)
                head = (
                    f"HTTP/1.1 {status} \r\nContent-Type: {content_type}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n"
                )
                self.wfile.write(head.encode() + body)

            def log_message(self, format: str, *args: object) -> None:
                return  # scrapes are not events

        self._server = ThreadingHTTPServer((bind, port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        """Serves from a daemon thread until `stop`."""
        threading.Thread(target=self._server.serve_forever, name="http", daemon=True).start()

    def stop(self) -> None:
        """Closes the port."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body for one path."""
        if path == "/metrics":
            self._before_scrape()
            self._metrics.gauge("hilum_ready", float(self._readiness().is_ready))
            return 200, "text/plain; version=0.0.4", generate_latest(self._metrics.registry)
        if path == "/livez":
            return 200, "application/json", b'{"live":true}'
        if path == "/readyz":
            state = self._readiness()
            body = orjson.dumps({"ready": state.is_ready, "reason": state.reason})
            return (200 if state.is_ready else 503), "application/json", body
        return 404, "application/json", b'{"error":"paths: /metrics /livez /readyz"}'


def _to_json(event: object, **_: object) -> str:
    return orjson.dumps(event, default=str).decode()


def _named(process: str) -> Callable[[Any, str, Any], Any]:
    def add(_logger: Any, _method: str, event: Any) -> Any:
        event["process"] = process
        return event

    return add
