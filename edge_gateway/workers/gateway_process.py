"""Makes the receive side of a gateway with workers out of its settings, and runs it.

Invariant: every directory has its identity before a worker opens it, so whoever finds one knows
whose it is. Must hold no rule of its own.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

from edge_gateway.association import AssociationLimits
from edge_gateway.receive import association_limits, spool_limits
from edge_gateway.spool import FileSystem, GatewayIdentity, SpoolLocked
from edge_gateway.spool.family import prepare_directories, require_room, workers_with_room
from edge_gateway.workers.acceptor import AcceptorProcess, stop_on_signals
from edge_gateway.workers.child import Child
from edge_gateway.workers.count import worker_count
from edge_gateway.workers.left_spools import close_left_spools
from edge_gateway.workers.order import LogLevel, WorkerOrder
from infra.clock import SystemClock
from infra.settings import GatewaySettings, Settings
from infra.telemetry import logger

_LOG = logger("receive")
LOCK_WAIT_S, LOCK_POLL_S = 5.0, 0.05


def run(settings: Settings, gateway_name: str) -> int:
    """Accepts until SIGTERM or SIGINT; the exit code. Only from the main thread.

    Raises FatalError (settings, spool of another site, exposure), RetryableError (port or spool
    still held).
    """
    gateway = settings.gateway(gateway_name)
    process = make_process(
        gateway, gateway_name, settings.log_level, limits=association_limits(gateway)
    )
    stop_on_signals(process)
    workers = len(process.children)
    close_left_spools(gateway, workers, spool_limits(gateway, workers))
    _LOG.info(
        "accepting",
        dicom_port=process.addresses.dicom_port,
        http_port=process.addresses.http_port,
        workers=workers,
    )
    return process.run()


def make_process(
    gateway: GatewaySettings,
    gateway_name: str,
    log_level: LogLevel,
    *,
    limits: AssociationLimits,
) -> AcceptorProcess:
    """The acceptor, bound, its workers not yet started: its `run` does that. Raises as `run`."""
    workers = _count_with_room(gateway)
    orders = [
        WorkerOrder(
            gateway_name=gateway_name,
            number=number,
            workers=workers,
            parent=os.getpid(),
            log_level=log_level,
            gateway=gateway,
            limits=limits,
        )
        for number in range(1, workers + 1)
    ]
    return AcceptorProcess(gateway, [Child(order, SystemClock()) for order in orders], limits)


def _count_with_room(gateway: GatewaySettings) -> int:
    """How many workers there are to be; on return their directories are there.

    Where no setting tells, a small disk has fewer than its cores allow; never none.
    """
    workers = worker_count(gateway)
    segment_bytes = gateway.spool.segment_bytes
    identity = _prepare(gateway, 1)
    spool_bytes_max = gateway.spool.spool_bytes_max or identity.spool_bytes_max
    if gateway.workers is None:
        workers = max(1, min(workers, workers_with_room(spool_bytes_max, segment_bytes)))
    require_room(spool_bytes_max, segment_bytes, workers)
    _prepare(gateway, workers)
    return workers


def _prepare(gateway: GatewaySettings, workers: int) -> GatewayIdentity:
    """Waits for the workers of an acceptor that was killed: the kernel ends them behind it."""
    until_s = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return prepare_directories(
                FileSystem(), gateway.spool.directory, gateway.site, workers, datetime.now(UTC)
            )
        except SpoolLocked:
            if time.monotonic() > until_s:
                raise
        time.sleep(LOCK_POLL_S)
