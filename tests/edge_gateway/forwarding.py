"""The settings and the real forwarder process of a test's gateway `north`.

Invariant: ports, directories and topics are the test's own.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contracts.failures import RetryableError
from infra.provision_topics import provision_topics
from infra.settings import Settings, overlay, validate
from operations.ports import free_ports
from operations.stack_files import to_toml

# A process start, Kafka and a machine that does other things as well.
DEADLINE_S = 150.0
# A forwarder may take 10 s; one that waited for an engine that is away would take minutes.
STOP_TIMEOUT_S = 60.0
MIB = 1024 * 1024
SEGMENT_BYTES = MIB
ROOT = Path(__file__).resolve().parents[2]


def eventually(is_so: Callable[[], bool], what: str, pause_s: float = 0.05) -> None:
    """Polls with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(pause_s)


def provide_topics(settings: Settings) -> None:
    """The topics are there on return. A broker that missed its own heartbeats is asked again."""

    def is_done() -> bool:
        try:
            provision_topics(settings.kafka)
        except RetryableError:
            return False
        return True

    eventually(is_done, "topics", 0.5)


def forwarder_settings(settings: Settings, **gateway: object) -> Settings:
    """The settings with a fast gateway `north` on ports of its own."""
    tree = json.loads(settings.model_dump_json(exclude_none=True))
    for site in ("primary", "dr"):
        tree[site]["object_store"]["secret_key"] = "not-used-here"
        tree[site]["clickhouse"].pop("password", None)
    ports = free_ports(2)
    changes: dict[str, Any] = {
        "forwarder_http_port": ports[0],
        "mirror_http_port": ports[1],
        "state_interval_s": 0.5,
        "spool": {"segment_bytes": SEGMENT_BYTES, "free_bytes_min": 0},
    }
    kafka = gateway.pop("kafka", {})
    tree = overlay(tree, {"gateways": {"north": overlay(changes, gateway)}, "kafka": kafka})
    return validate(tree, "tests")


class ForwarderProcess:
    """`python -m edge_gateway forward` of gateway north, or the role `mirror`."""

    def __init__(self, settings: Settings, directory: Path, role: str = "forward") -> None:
        self.settings = settings
        north = settings.gateways["north"]
        self.port = north.mirror_http_port if role == "mirror" else north.forwarder_http_port
        self._role = role
        self._file = directory / f"settings-{self.port}.toml"
        tree = json.loads(settings.model_dump_json(exclude_none=True))
        for site in ("primary", "dr"):
            tree[site]["object_store"]["secret_key"] = "not-used-here"
            tree[site]["clickhouse"].pop("password", None)
        self._file.write_text(to_toml(tree))
        self._log = directory / f"{role}-{self.port}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> ForwarderProcess:
        with self._log.open("ab") as log:
            role = ("-m", "edge_gateway", self._role, "--gateway", "north")
            self.process = subprocess.Popen(
                [sys.executable, *role, "--settings", str(self._file)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stderr=log,
            )
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_TIMEOUT_S)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(STOP_TIMEOUT_S)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def readiness(self) -> tuple[bool, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=30) as got:
                body = json.loads(got.read())
        except urllib.error.HTTPError as refusal:
            body = json.loads(refusal.read())
        except (OSError, http.client.HTTPException) as problem:
            return False, f"unreachable: {problem}"
        return bool(body["ready"]), str(body["reason"])

    def metric(self, name: str) -> float:
        """The sum over all labels; 0 while the process is not up."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as got:
                lines = got.read().decode().splitlines()
        except (OSError, http.client.HTTPException):
            return 0.0
        rows = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return sum(float(value) for key, _, value in rows if key.partition("{")[0] == name)

    def await_ready(self) -> None:
        eventually(lambda: self.readiness()[0], f"ready: {self.log()}")

    def log(self) -> str:
        return self._log.read_text()[-4000:]
