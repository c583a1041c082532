"""What the processes of a stack used between two looks: CPU, memory, disk.

Invariant: figures are the kernel's; what it does not tell (another user's process, a process
that was started anew in between) is None and never 0. Must not signal or change a process, but
for the mark from which the kernel counts its peak memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

# Written to /proc/PID/clear_refs: the peak of resident memory is counted anew (proc(5)).
_RESET_PEAK = "5"
# Of /sys/dev/block/*/stat: sectors written, and flush requests completed (kernel 5.5 on; not kept
# for partitions, so the whole device is asked).
_WRITTEN_FIELD, _FLUSH_FIELD = 6, 15
_SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class ProcessLook:
    """One process with its children, as of now.

    `written_bytes` are pages that it made dirty. Where the page cache has large folios a folio is
    counted whole: overwriting 200 × 9 KB of a file that was filled in MiB steps counted as 211 MB
    on 6.18, while the device wrote 8 MB. It tells which process writes, the device how much.
    """

    pid: int
    cpu_s: float
    memory_peak_bytes: int | None
    read_bytes: int | None
    written_bytes: int | None


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process with its children used in a run; None where nobody can tell."""

    process: str
    cpu_s: float | None
    memory_peak_bytes: int | None
    read_bytes: int | None
    written_bytes: int | None


@dataclass(frozen=True, slots=True)
class DiskLook:
    """A device's counters since the machine began; None where the kernel does not tell."""

    written_bytes: int | None
    flushes: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """All processes by name, and the disk's and the spools' own counters, as of now."""

    processes: Mapping[str, ProcessLook]
    disk: DiskLook
    spool_flushes: int | None


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """What a run used: by process, and flushes of the gateways' spools; `disk_…` is the device
    under the state directory, whoever used it."""

    processes: tuple[ProcessUse, ...]
    disk_written_bytes: int | None
    disk_flushes: int | None
    spool_flushes: int | None

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all processes that could be told."""
        return sum(one.cpu_s for one in self.processes if one.cpu_s is not None)


def look_at(pids: Mapping[str, int], directory: Path, spool_flushes: int | None) -> Look:
    """The processes (by name, one that is gone left out) and the device that holds `directory`."""
    looks = {name: _process_look(pid) for name, pid in pids.items()}
    return Look(
        {name: look for name, look in looks.items() if look is not None},
        disk_look(directory),
        spool_flushes,
    )


def forget_peaks(pids: Iterable[int]) -> None:
    """Peaks of memory count from now on; where the kernel refuses, since the process began."""
    for pid in pids:
        for process in _tree(pid):
            try:
                Path(f"/proc/{process.pid}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
            except OSError:
                continue


def used_between(before: Look, after: Look) -> ResourceUse:
    """The difference; a process that is not the same one in both has no figures."""
    return ResourceUse(
        tuple(
            _use(name, before.processes.get(name), after.processes.get(name))
            for name in sorted({*before.processes, *after.processes})
        ),
        _difference(before.disk.written_bytes, after.disk.written_bytes),
        _difference(before.disk.flushes, after.disk.flushes),
        _difference(before.spool_flushes, after.spool_flushes),
    )


def disk_look(directory: Path) -> DiskLook:
    """The counters of the device under `directory`; None where it is none of its own (overlay)."""
    device = directory.stat().st_dev
    block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    try:
        whole = block.resolve().parent if (block / "partition").exists() else block
        fields = [int(word) for word in (whole / "stat").read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return DiskLook(None, None)
    flushes = fields[_FLUSH_FIELD] if len(fields) > _FLUSH_FIELD else None
    return DiskLook(fields[_WRITTEN_FIELD] * _SECTOR_BYTES, flushes)


def _use(name: str, before: ProcessLook | None, after: ProcessLook | None) -> ProcessUse:
    if before is None or after is None or before.pid != after.pid:
        return ProcessUse(name, None, None, None, None)
    return ProcessUse(
        name,
        max(0.0, after.cpu_s - before.cpu_s),
        after.memory_peak_bytes,
        _difference(before.read_bytes, after.read_bytes),
        _difference(before.written_bytes, after.written_bytes),
    )


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)


def _process_look(pid: int) -> ProcessLook | None:
    tree = _tree(pid)
    if not tree:
        return None
    io = [_io(process.pid) for process in tree]
    return ProcessLook(
        pid,
        sum(_cpu_s(process) for process in tree),
        _sum(_peak_bytes(process.pid) for process in tree),
        _sum(counters.get("read_bytes") for counters in io),
        _sum(counters.get("write_bytes") for counters in io),
    )


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_s(process: psutil.Process) -> float:
    """Its own time and that of children that ended and were waited for."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _sum(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _peak_bytes(pid: int) -> int | None:
    return _fields(Path(f"/proc/{pid}/status"), "kB").get("VmHWM")


def _io(pid: int) -> dict[str, int]:
    return _fields(Path(f"/proc/{pid}/io"), "")


def _fields(path: Path, unit: str) -> dict[str, int]:
    """`name: number unit` lines, in bytes; empty where the file cannot be read."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit() and words[1:] == ([unit] if unit else []):
            found[name] = int(words[0]) * (1024 if unit == "kB" else 1)
    return found
