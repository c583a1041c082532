"""On what a report was measured: the machine and the versions.

Invariant: nothing that names a person or a host; two reports are of one machine when
`machine_name` is the same. It must not fail: what cannot be read is left out.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import psutil

from load.report.model import Value
from operations.context import CHECKOUT, DEFAULT_STATE_DIRECTORY

GIT_TIMEOUT_S = 5.0


def machine(directory: Path = DEFAULT_STATE_DIRECTORY) -> Mapping[str, Value]:
    """CPU, cores that we may use, memory, kernel, and the file system under `directory`."""
    found: dict[str, Value] = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": f"{platform.system()} {platform.release()}",
        "distribution": _distribution(),
        "file_system": _file_system(directory),
        "load_average_1_min": round(os.getloadavg()[0], 2),
    }
    quota = _cpu_quota()
    if quota is not None:
        found["cpu_quota_cores"] = quota
    return found


def machine_name(found: Mapping[str, Value]) -> str:
    """What must be equal for two runs to be compared: "Xeon …, 2 cores, 23 GiB, ext4"."""
    memory = found.get("memory_bytes")
    gib = f"{memory / 2**30:.0f} GiB" if isinstance(memory, int | float) else "memory unknown"
    file_system = str(found.get("file_system", "?")).split()[0]
    return f"{found.get('cpu', 'unknown')}, {found.get('cores', '?')} cores, {gib}, {file_system}"


def versions(*names: str) -> Mapping[str, str]:
    """Hilum's own version with its commit, Python's, and those of the named distributions."""
    found = {"hilum": _own_version(), "python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _own_version() -> str:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=CHECKOUT, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return described.stdout.strip() or "unknown"


def _cpu_model() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"


def _file_system(directory: Path) -> str:
    """Type and size of the mount that holds `directory`, which need not exist yet."""
    real = os.path.realpath(directory)
    holding = [
        mount
        for mount in psutil.disk_partitions(all=True)
        if real == mount.mountpoint or real.startswith(mount.mountpoint.rstrip("/") + "/")
    ]
    if not holding:
        return "unknown"
    mount = max(holding, key=lambda one: len(one.mountpoint))
    size_gib = psutil.disk_usage(mount.mountpoint).total / 2**30
    return f"{mount.fstype} of {size_gib:.0f} GiB"


def _cpu_quota() -> float | None:
    """Cores that a control group grants, where it grants fewer than it shows."""
    words = _text(Path("/sys/fs/cgroup/cpu.max")).split()
    if len(words) != 2 or words[0] == "max":
        return None
    return round(int(words[0]) / int(words[1]), 2)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
