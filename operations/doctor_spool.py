"""The disks under each spool and its mirror: their kind, their room, what a flush costs there.

Invariant: writes only into a nameless temporary file of PROBE_BYTES_MAX that is gone at the end,
never into the spool; the probes of several spools go one after the other, as one disk would
otherwise be measured against itself.
"""

from __future__ import annotations

import os
import shlex
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from edge_gateway.mirror.place import lack_of_disk
from edge_gateway.spool import FileSystem, spool_usage
from edge_gateway.spool.layout import SpoolLayout, read_identity
from edge_gateway.spool.limits import DEFAULT_SPOOL_BYTES_MAX, default_free_bytes_min
from infra.settings import GatewaySettings, Settings
from operations.answers import size_text
from operations.findings import Check, Finding, Verdict, judge

FLUSHES = 64
PROBE_BYTES_MAX = 16 * 1024 * 1024
PROBE_S_MAX = 3.0
# Flushes a second of recycled segments on the two cores that the goals were set on, for an object
# of that size; a tenth of it is slow: one association is then answered fewer times a second.
FLUSHES_PER_S = {4 * 1024: 6_859, 525_000: 2_825}
SLOW_SHARE = 10
# How full a spool may be before somebody should look.
FULL_SHARE = 0.8
_NOT_DURABLE = frozenset(("tmpfs", "ramfs", "devtmpfs"))
_NOT_LOCAL = frozenset(("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "overlay", "9p", "ceph"))
_SECOND_DISK = (
    "a directory on a disk that the spool is not on",
    "mount a second disk and make the directory on it",
)
_NO_BARRIERS = frozenset(("nobarrier", "barrier=0"))


@dataclass(frozen=True, slots=True)
class FlushFigures:
    """What write and fdatasync took together, milliseconds."""

    size_bytes: int
    flushes: int
    median_ms: float
    worst_ms: float


def spool_checks(settings: Settings, up_command: str) -> list[Check]:
    """One check for each gateway's spool, and one for its mirror where it has one."""
    one_at_a_time = threading.Lock()

    def check(name: str, gateway: GatewaySettings) -> Check:
        return Check(
            f"spool {name}",
            "disk",
            "a directory that this user may write",
            f"mkdir -p {shlex.quote(str(gateway.spool.directory))}",
            lambda: _examine(name, gateway, up_command, one_at_a_time),
        )

    def check_mirror(name: str, gateway: GatewaySettings, directory: Path) -> Check:
        return Check(
            f"mirror {name}",
            "disk",
            _SECOND_DISK[0],
            _SECOND_DISK[1],
            lambda: _examine_mirror(f"mirror {name}", gateway, directory, one_at_a_time),
        )

    checks = []
    for name, gateway in settings.gateways.items():
        checks.append(check(name, gateway))
        if gateway.spool.mirror_directory is not None:
            checks.append(check_mirror(name, gateway, gateway.spool.mirror_directory))
    return checks


def flush_figures(directory: Path, size_bytes: int) -> FlushFigures:
    """Up to FLUSHES writes of `size_bytes`, each flushed, over blocks that exist already.

    Ends after PROBE_S_MAX. Raises OSError as the disk does.
    """
    span = min(FLUSHES * size_bytes, PROBE_BYTES_MAX) // size_bytes
    body = os.urandom(size_bytes)
    took_ms: list[float] = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        descriptor = file.fileno()
        for place in range(span):  # as a segment is filled once and then recycled
            os.pwrite(descriptor, bytes(size_bytes), place * size_bytes)
        os.fdatasync(descriptor)
        end_s = time.monotonic() + PROBE_S_MAX
        for number in range(FLUSHES):
            started_s = time.monotonic()
            os.pwrite(descriptor, body, number % span * size_bytes)
            os.fdatasync(descriptor)
            took_ms.append((time.monotonic() - started_s) * 1000)
            if time.monotonic() > end_s:
                break
    return FlushFigures(size_bytes, len(took_ms), statistics.median(took_ms), max(took_ms))


def _examine(
    name: str, gateway: GatewaySettings, up_command: str, one_at_a_time: threading.Lock
) -> Iterator[Finding]:
    subject, directory = f"spool {name}", gateway.spool.directory
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    yield _directory(subject, directory, existing, up_command)
    yield _file_system(subject, existing)
    yield judge(
        subject,
        "copies",
        "ok",
        _copies(gateway),
        ("a disk that survives the loss of a drive (RAID 1, or what the array gives)", ""),
    )
    yield from _room(subject, gateway, existing)
    yield from _speeds(subject, existing, one_at_a_time)


def _examine_mirror(
    subject: str, gateway: GatewaySettings, directory: Path, one_at_a_time: threading.Lock
) -> Iterator[Finding]:
    spool = gateway.spool
    if not spool.directory.is_dir():
        seen = f"{spool.directory} is not there: the gateway never ran here"
        yield judge(subject, "second disk", "warning", seen, _SECOND_DISK)
        return
    lack = lack_of_disk(spool)
    yield judge(
        subject, "second disk", "error" if lack else "ok", lack or str(directory), _SECOND_DISK
    )
    if not directory.is_dir():
        return
    yield _file_system(subject, directory)
    yield _free_space(subject, gateway, directory, "below which level 'mirror' is refused")
    yield from _speeds(subject, directory, one_at_a_time)


def _copies(gateway: GatewaySettings) -> str:
    if gateway.spool.mirror_directory is None:
        return "one: until the archive has it, what was answered 0000H is on this disk alone"
    waiting = sum(rule.level == "mirror" for rule in gateway.admit)
    return f"two: the mirror has it a moment later; {waiting} rule(s) answer only then"


def _speeds(subject: str, directory: Path, one_at_a_time: threading.Lock) -> Iterator[Finding]:
    if not os.access(directory, os.W_OK | os.X_OK):
        return
    with one_at_a_time:
        for size_bytes in FLUSHES_PER_S:
            yield _speed(subject, flush_figures(directory, size_bytes))


def _directory(subject: str, directory: Path, existing: Path, up_command: str) -> Finding:
    wanted = "a directory that this user may write"
    if not os.access(existing, os.W_OK | os.X_OK):
        seen = f"{existing} is not writable for user {os.getuid()}"
        return judge(
            subject,
            "directory",
            "error",
            seen,
            (wanted, f"chown $USER {shlex.quote(str(existing))}"),
        )
    if existing != directory:
        seen = f"{directory} is not there: the gateway never ran here"
        return judge(subject, "directory", "warning", seen, (wanted, up_command))
    return judge(subject, "directory", "ok", str(directory), (wanted, ""))


def _file_system(subject: str, existing: Path) -> Finding:
    """By the mount that holds the path; the last one mounted there is the one in force."""
    real = existing.resolve()
    mounts = [m for m in psutil.disk_partitions(all=True) if real.is_relative_to(m.mountpoint)]
    wanted = ("a local disk that obeys flushes", "set gateways.NAME.spool.directory to one")
    if not mounts:
        return judge(subject, "file system", "warning", "unknown", wanted)
    longest = max(len(mount.mountpoint) for mount in mounts)
    mount = [m for m in mounts if len(m.mountpoint) == longest][-1]
    options = _NO_BARRIERS.intersection(mount.opts.split(","))
    verdict: Verdict = "ok"
    if mount.fstype in _NOT_LOCAL:
        verdict = "warning"
    if mount.fstype in _NOT_DURABLE or options:
        verdict = "error"
    seen = " ".join((mount.fstype, "on", mount.device, *sorted(options)))
    return judge(subject, "file system", verdict, seen, wanted)


def _room(subject: str, gateway: GatewaySettings, existing: Path) -> Iterator[Finding]:
    yield _free_space(subject, gateway, existing, "below which the gateway refuses")
    spool = gateway.spool
    room = FileSystem().disk_space(existing)
    free_min = _free_bytes_min(gateway, room.total_bytes)
    used = spool_usage(spool.directory).bytes if existing == spool.directory else 0
    limit = _spool_bytes_max(gateway, room.free_bytes)
    usable = used + max(0, room.free_bytes - free_min)
    verdict: Verdict = "ok"
    if usable < limit or used >= FULL_SHARE * limit:
        verdict = "warning"
    if used >= limit:
        verdict = "error"
    yield judge(
        subject,
        "spool_bytes_max",
        verdict,
        f"{size_text(used)} taken; the disk has room for {size_text(usable)}",
        (
            f"room for {size_text(limit)}, less than {FULL_SHARE:.0%} of it taken",
            "./hilum status   (is it publishing?), then free the disk or lower "
            f"spool.spool_bytes_max to {usable}",
        ),
    )


def _free_space(subject: str, gateway: GatewaySettings, directory: Path, meaning: str) -> Finding:
    room = FileSystem().disk_space(directory)
    free_min = _free_bytes_min(gateway, room.total_bytes)
    return judge(
        subject,
        "free_bytes_min",
        "error" if room.free_bytes <= free_min else "ok",
        f"{size_text(room.free_bytes)} free of {size_text(room.total_bytes)}",
        (
            f"more than {size_text(free_min)}, {meaning}",
            f"free space on the disk of {directory}, or lower spool.free_bytes_min",
        ),
    )


def _free_bytes_min(gateway: GatewaySettings, disk_bytes: int) -> int:
    given = gateway.spool.free_bytes_min
    return default_free_bytes_min(disk_bytes) if given is None else given


def _spool_bytes_max(gateway: GatewaySettings, free_bytes: int) -> int:
    """The setting; else what the gateway chose at its first start; else what it would choose."""
    if gateway.spool.spool_bytes_max is not None:
        return gateway.spool.spool_bytes_max
    identity = read_identity(FileSystem(), SpoolLayout(gateway.spool.directory))
    return identity.spool_bytes_max if identity else min(DEFAULT_SPOOL_BYTES_MAX, free_bytes // 2)


def _speed(subject: str, figures: FlushFigures) -> Finding:
    reference = FLUSHES_PER_S[figures.size_bytes]
    slow_ms = SLOW_SHARE * 1000 / reference
    size = size_text(figures.size_bytes)
    return judge(
        subject,
        f"flush of {size}",
        "warning" if figures.median_ms > slow_ms else "ok",
        f"median {figures.median_ms:.2f} ms, worst {figures.worst_ms:.1f} ms of {figures.flushes}",
        (
            f"median below {slow_ms:.1f} ms (slow: a tenth of {reference}/s)",
            "put the spool on an SSD with power-loss protection; look for others with iostat -x 1",
        ),
    )
