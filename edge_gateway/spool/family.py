"""The spool directories of one gateway: its own, and one more for each further worker process.

Invariant: all of them carry one gateway_id, and what is measured is their sum, so that a gateway
has one identity and one watermark however many processes write. Must not write records.

    spool/                  worker 1, and what is the gateway's: ledgers, requests, levels.socket
    spool/workers/2/        worker 2, laid out as the first; and so on

A directory whose worker is gone (the count was lowered) stays: the forwarder drains it.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from edge_gateway.spool.errors import SpoolMismatch, translate
from edge_gateway.spool.filesystem import FileSystem
from edge_gateway.spool.layout import (
    GatewayIdentity,
    SpoolLayout,
    copy_identity,
    load_or_mint_identity,
    measure,
    read_identity,
    take_lock,
)
from edge_gateway.spool.limits import SEGMENTS_MIN, Usage

FURTHER_DIRECTORY = "workers"
FIRST_WORKER = 1


def worker_directory(gateway_directory: Path, number: int) -> Path:
    """Where worker `number` (from 1) spools."""
    if number == FIRST_WORKER:
        return gateway_directory
    return gateway_directory / FURTHER_DIRECTORY / str(number)


def worker_directories(fs: FileSystem, gateway_directory: Path) -> dict[int, Path]:
    """Every spool directory that there is, by its worker's number; the gateway's own always."""
    found = {FIRST_WORKER: gateway_directory}
    for name in fs.names(gateway_directory / FURTHER_DIRECTORY):
        if name.isdecimal() and int(name) > FIRST_WORKER:
            found[int(name)] = gateway_directory / FURTHER_DIRECTORY / name
    return found


def measure_all(fs: FileSystem, gateway_directory: Path) -> Usage:
    """What all spools of the gateway occupy together now."""
    found = [
        measure(fs, SpoolLayout(path))
        for path in worker_directories(fs, gateway_directory).values()
    ]
    return Usage(
        segment_bytes=sum(usage.segment_bytes for usage in found),
        object_bytes=sum(usage.object_bytes for usage in found),
        free_segment_bytes=sum(usage.free_segment_bytes for usage in found),
        segments=sum(usage.segments for usage in found),
        objects=sum(usage.objects for usage in found),
        disk_free_bytes=found[0].disk_free_bytes,
        disk_bytes=found[0].disk_bytes,
    )


def prepare_directories(
    fs: FileSystem, gateway_directory: Path, site: str, workers: int, now: datetime
) -> GatewayIdentity:
    """On return the directories of so many workers are there, all with the gateway's identity.

    Before the first of them is opened: who finds a directory knows whose it is. Raises SpoolLocked
    (another process makes or uses the first), SpoolMismatch, SpoolCorrupt, SpoolFull, SpoolBroken.
    """
    try:
        fs.make_directory(gateway_directory)
        first = SpoolLayout(gateway_directory)
        held = take_lock(first.receiver_lock, "receiver")
        try:
            identity = load_or_mint_identity(fs, first, site, now)
        finally:
            os.close(held)
        for number in range(FIRST_WORKER + 1, workers + 1):
            worker_identity(fs, SpoolLayout(worker_directory(gateway_directory, number)))
    except OSError as error:
        raise translate(error, f"making the spools in {gateway_directory}") from error
    for path in worker_directories(fs, gateway_directory).values():
        require_same_gateway(read_identity(fs, SpoolLayout(path)), identity, path)
    return identity


def worker_identity(fs: FileSystem, layout: SpoolLayout) -> GatewayIdentity:
    """The gateway's identity, which a further worker's directory carries on return.

    Raises SpoolMismatch where it is another gateway's, or the gateway has none yet.
    """
    gateway_directory = layout.directory.parents[1]
    identity = read_identity(fs, SpoolLayout(gateway_directory))
    if identity is None:
        raise SpoolMismatch(
            f"opening {layout.directory}: {gateway_directory} has no gateway.json",
            "restore gateway.json from a backup, or move the directory away",
        )
    found = read_identity(fs, layout)
    if found is None:
        copy_identity(fs, layout, identity)
    require_same_gateway(found, identity, layout.directory)
    return identity


def require_same_gateway(
    found: GatewayIdentity | None, identity: GatewayIdentity, directory: Path
) -> None:
    """Raises SpoolMismatch where a directory below a gateway's spool is another gateway's."""
    if found is not None and found.gateway_id != identity.gateway_id:
        raise SpoolMismatch(
            f"opening {directory}: it belongs to another gateway than {directory.parents[1]}",
            "move it away; gateway.json in it names whose it is",
        )


def workers_with_room(spool_bytes_max: int, segment_bytes: int) -> int:
    """How many spools can be below the watermark again once they were full."""
    return spool_bytes_max // (SEGMENTS_MIN * segment_bytes)


def require_room(spool_bytes_max: int, segment_bytes: int, workers: int) -> None:
    """Raises SpoolMismatch where so many workers could never leave the watermark again."""
    if workers > workers_with_room(spool_bytes_max, segment_bytes):
        raise SpoolMismatch(
            f"opening {workers} spools: {spool_bytes_max} bytes hold less than {SEGMENTS_MIN}"
            f" segments of {segment_bytes} for each",
            "lower workers or segment_bytes, raise spool_bytes_max, or take a larger disk",
        )
