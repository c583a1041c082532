"""One process of the local stack as data: how it is started and how its readiness is asked.

Invariant: a program is ready only when its own protocol answered, not when its port is open.
It must not start anything: the supervisor and the tests do.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.telemetry import Readiness

PROBE_TIMEOUT_S = 3.0
_API_VERSIONS = 18
_ANSWER_BYTES_MAX = 1 << 20

Probe = Callable[[], Readiness]


@dataclass(frozen=True)
class Program:
    """A process by name, with what it needs, its ports, and the question whether it is ready."""

    name: str
    command: tuple[str, ...]
    directory: Path
    probe: Probe
    ports: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def http_probe(host: str, port: int, path: str) -> Probe:
    """Ready when GET `path` answers 200; a JSON `reason` in the answer is taken over."""

    def ask() -> Readiness:
        connection = http.client.HTTPConnection(host, port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read(_ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            return Readiness(False, _reason(error))
        finally:
            connection.close()
        return Readiness(response.status == 200, _stated_reason(body, response.status))

    return ask


def kafka_probe(host: str, port: int) -> Probe:
    """Ready when the broker answers ApiVersions, which it does only once it is unfenced."""
    client = b"hilum-probe"
    request = struct.pack(f">hhih{len(client)}s", _API_VERSIONS, 0, 1, len(client), client)

    def ask() -> Readiness:
        try:
            with socket.create_connection((host, port), PROBE_TIMEOUT_S) as connection:
                connection.settimeout(PROBE_TIMEOUT_S)
                connection.sendall(struct.pack(">i", len(request)) + request)
                answer = connection.recv(10)
        except OSError as error:
            return Readiness(False, _reason(error))
        is_ready = len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (1, 0)
        return Readiness(is_ready, "" if is_ready else "the broker does not answer yet")

    return ask


def _stated_reason(body: bytes, status: int) -> str:
    try:
        stated = json.loads(body)
    except ValueError:
        stated = None
    if isinstance(stated, dict) and isinstance(stated.get("reason"), str):
        return str(stated["reason"])
    return "" if status == 200 else f"answers HTTP status {status}"


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "not listening yet"
    if isinstance(error, TimeoutError):
        return f"no answer in {PROBE_TIMEOUT_S:.0f} s"
    return str(error) or type(error).__name__
