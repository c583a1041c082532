"""What `up` needs from the machine, looked at together before anything is started.

Invariant: everything that is missing is named at once, each with the line that installs it.
It must not install, start or stop anything.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.engines.cache import cache_directory
from infra.engines.kafka import is_kafka_cached
from infra.engines.s3 import is_minio_cached
from infra.settings import LocalSettings
from operations.ports import is_port_free

JAVA_MIN = (17,)
GO_MIN = (1, 24)
GIB = 1 << 30
# Go's module and build caches, for a first build of MinIO.
BUILD_BYTES_MIN = 4 * GIB
STATE_BYTES_MIN = 2 * GIB
TOOL_TIMEOUT_S = 20.0
PORT_RELEASE_S, PORT_POLL_S = 10.0, 0.1
_MINUTES_KAFKA, _MINUTES_MINIO = 1, 5


@dataclass(frozen=True, slots=True)
class Missing:
    """One thing that is not as it must be, and the next step."""

    what: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.what}\n      {self.next_step}"


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found; `minutes` is what a first start takes beyond the usual seconds."""

    missing: tuple[Missing, ...]
    minutes: int


def preflight(
    local: LocalSettings, state_directory: Path, ports: Mapping[str, Sequence[int]]
) -> Preflight:
    """Look at tools, disk and ports; nothing raises, everything missing is in the answer."""
    needs_jars = local.kafka and not is_kafka_cached()
    needs_build = local.object_stores and not is_minio_cached()
    missing: list[Missing] = []
    if local.kafka:
        missing += _java()
    if needs_jars:
        missing += _tool("mvn", "Maven", "apt-get install -y maven")
    if needs_build:
        missing += _go()
        missing += _disk(cache_directory(), BUILD_BYTES_MIN, "to build MinIO")
    missing += _disk(state_directory, STATE_BYTES_MIN, "for the stack's state")
    missing += _ports(ports)
    minutes = needs_jars * _MINUTES_KAFKA + needs_build * _MINUTES_MINIO
    return Preflight(tuple(missing), minutes)


def _java() -> list[Missing]:
    line = "apt-get install -y openjdk-17-jre-headless"
    return _versioned(("java", "-version"), "Java", JAVA_MIN, line)


def _go() -> list[Missing]:
    line = "apt-get install -y golang-go   (Debian 12: with -t bookworm-backports)"
    return _versioned(("go", "version"), "Go", GO_MIN, line)


def _tool(command: str, name: str, line: str) -> list[Missing]:
    return [] if shutil.which(command) else [Missing(f"{name} is missing", line)]


def _versioned(
    command: tuple[str, ...], name: str, least: tuple[int, ...], line: str
) -> list[Missing]:
    wanted = ".".join(map(str, least))
    if not shutil.which(command[0]):
        return [Missing(f"{name} {wanted} or newer is missing", line)]
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return [Missing(f"{name} does not run", line)]
    found = re.search(r"(\d+)(?:\.(\d+))?", ran.stdout + ran.stderr)
    version = tuple(int(part) for part in found.groups("0")) if found else (0,)
    if version < least:
        text = ".".join(map(str, version))
        return [Missing(f"{name} {wanted} or newer is missing, this is {text}", line)]
    return []


def _disk(directory: Path, least_bytes: int, purpose: str) -> list[Missing]:
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes >= least_bytes:
        return []
    return [
        Missing(
            f"{existing}: {free_bytes / GIB:.1f} GiB free, {least_bytes / GIB:.0f} GiB needed "
            f"{purpose}",
            "free some space, or use --state and XDG_CACHE_HOME on another disk",
        )
    ]


def _ports(ports: Mapping[str, Sequence[int]]) -> list[Missing]:
    until = time.monotonic() + PORT_RELEASE_S
    while True:
        taken = [
            (name, port)
            for name, several in ports.items()
            for port in several
            if not is_port_free(port)
        ]
        holders = _holders() if taken else {}
        # A process that was killed keeps its ports until its last thread is gone, and is nobody's
        # by then.
        if all(port in holders for _, port in taken) or time.monotonic() > until:
            break
        time.sleep(PORT_POLL_S)
    return [
        Missing(
            f"port {port} of {name} is taken{holders.get(port, '')}",
            "end that process, or start with --port-offset 1000",
        )
        for name, port in taken
    ]


def _holders() -> dict[int, str]:
    """Who listens where, as far as this user may know."""
    holders: dict[int, str] = {}
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid:
                name = psutil.Process(connection.pid).name()
                holders[connection.laddr.port] = f" by {name} (process {connection.pid})"
    except psutil.Error:
        return holders
    return holders
