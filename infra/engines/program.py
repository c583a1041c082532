"""One process of the local stack as data: how it is started and how its readiness is asked.

Invariant: a program is ready only when its own protocol answered, not when its port is open.
It must not start anything: the supervisor and the tests do.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from infra.telemetry import Readiness

PROBE_TIMEOUT_S = 3.0
_API_VERSIONS = 18
_ANSWER_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class Probe:
    """Where and how to ask a process whether it is ready; plain data, so that it can be kept."""

    protocol: Literal["http", "kafka"]
    port: int
    path: str = ""
    host: str = "127.0.0.1"

    def ask(self) -> Readiness:
        """The process's own answer, after PROBE_TIMEOUT_S at the latest. Never raises."""
        try:
            return self._ask_kafka() if self.protocol == "kafka" else self._ask_http()
        except ConnectionRefusedError:
            return Readiness(False, "not listening yet")
        except TimeoutError:
            return Readiness(False, f"no answer in {PROBE_TIMEOUT_S:.0f} s")
        except (OSError, http.client.HTTPException) as error:
            return Readiness(False, str(error) or type(error).__name__)

    def _ask_http(self) -> Readiness:
        """Ready when GET `path` answers 200; a JSON `reason` in the answer is taken over."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", self.path)
            response = connection.getresponse()
            body = response.read(_ANSWER_BYTES_MAX)
        finally:
            connection.close()
        return Readiness(response.status == 200, _stated_reason(body, response.status))

    def _ask_kafka(self) -> Readiness:
        """Ready when the broker answers ApiVersions, which it does only once it is unfenced."""
        client = b"hilum-probe"
        request = struct.pack(f">hhih{len(client)}s", _API_VERSIONS, 0, 1, len(client), client)
        with socket.create_connection((self.host, self.port), PROBE_TIMEOUT_S) as connection:
            connection.settimeout(PROBE_TIMEOUT_S)
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(10)
        is_ready = len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (1, 0)
        return Readiness(is_ready, "" if is_ready else "the broker does not answer yet")


@dataclass(frozen=True)
class Program:
    """A process by name, with what it needs and the question whether it is ready."""

    name: str
    command: tuple[str, ...]
    directory: Path
    probe: Probe
    environment: Mapping[str, str] = field(default_factory=dict)


def _stated_reason(body: bytes, status: int) -> str:
    try:
        stated = json.loads(body)
    except ValueError:
        stated = None
    if isinstance(stated, dict) and isinstance(stated.get("reason"), str):
        return str(stated["reason"])
    return "" if status == 200 else f"answers HTTP status {status}"
