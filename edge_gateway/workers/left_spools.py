"""Spools whose worker is gone for good, because the count was lowered: closed, for the forwarder.

Invariant: after it no association of theirs is open in the receipts, whatever ended its worker;
nothing is received into them. A fault here keeps nobody from accepting.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from contracts.failures import HilumError
from edge_gateway.spool import FileSystem, Spool, SpoolLimits
from edge_gateway.spool.family import worker_directories
from edge_gateway.spool.layout import SpoolLayout
from infra.settings import GatewaySettings
from infra.telemetry import logger

_LOG = logger("spools")


def close_left_spools(
    gateway: GatewaySettings, workers: int, limits: SpoolLimits
) -> threading.Thread | None:
    """Closes those of workers beyond `workers`, in a thread of its own; None where there are none.

    Opening one recovers it: what a crash left open is closed as `gateway_lost`. Segments that it
    kept for recycling are given back to the disk.
    """
    found = worker_directories(FileSystem(), gateway.spool.directory)
    left = {number: path for number, path in found.items() if number > workers}
    if not left:
        return None
    thread = threading.Thread(
        target=_close, args=(gateway, left, limits), name="left-spools", daemon=True
    )
    thread.start()
    return thread


def _close(gateway: GatewaySettings, left: dict[int, Path], limits: SpoolLimits) -> None:
    for number, path in sorted(left.items()):
        try:
            with Spool.open(
                path, gateway.site, limits, gateway_directory=gateway.spool.directory
            ) as spool:
                lost = spool.recovery.associations_lost
        except HilumError as failure:
            _LOG.error("a left spool is not closed", worker=number, reason=str(failure))
            continue
        _remove_free_segments(path)
        _LOG.info("a left spool is closed", worker=number, associations_lost=lost)


def _remove_free_segments(path: Path) -> None:
    fs, free = FileSystem(), SpoolLayout(path).free
    for name in fs.names(free):
        with suppress(OSError):
            fs.discard(free / name)
