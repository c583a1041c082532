"""Putting a spool together: lock, identity, recovery, then the parts that write.

Invariant: nothing is written before the lock is held, and when opening fails nothing is left
running or held. Must not acknowledge.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edge_gateway.spool.committer import Committer
from edge_gateway.spool.entry import AssociationClosed
from edge_gateway.spool.errors import translate
from edge_gateway.spool.family import worker_identity
from edge_gateway.spool.filesystem import CREATE, FileSystem
from edge_gateway.spool.health import SpoolHealth
from edge_gateway.spool.layout import (
    GatewayIdentity,
    SpoolLayout,
    load_or_mint_identity,
    take_lock,
)
from edge_gateway.spool.limits import RecoveryReport, SpoolLimits
from edge_gateway.spool.log import SpoolLog
from edge_gateway.spool.pending import Pending
from edge_gateway.spool.recovery import Recovered, recover
from edge_gateway.spool.sealing import Sealed
from edge_gateway.spool.sink import SinkContext
from edge_gateway.spool.supply import SegmentSupply
from edge_gateway.spool.watermarks import Watermarks

# The first segment of a fresh directory is filled with zeros before anything is accepted.
START_WAIT_S = 120.0


@dataclass(frozen=True, slots=True)
class SpoolParts:
    """The running parts of an open spool."""

    identity: GatewayIdentity
    recovery: RecoveryReport
    health: SpoolHealth
    watermarks: Watermarks
    supply: SegmentSupply
    log: SpoolLog
    committer: Committer
    sinks: SinkContext
    held: ExitStack

    def close(self) -> None:
        """Flushes what is queued, stops the threads and lets go of the directory."""
        self.committer.close()
        self.held.close()


@dataclass(frozen=True, slots=True)
class SpoolPlace:
    """A spool's directory, whose site it is, and the gateway's own directory."""

    directory: Path
    site: str
    gateway_directory: Path


def open_parts(fs: FileSystem, place: SpoolPlace, limits: SpoolLimits, now: datetime) -> SpoolParts:
    """On return the log is recovered and flushed, and all parts run. Raises as `Spool.open`."""
    with ExitStack() as held:
        try:
            return _open_in(held, fs, place, limits, now)
        except OSError as error:
            raise translate(error, f"opening the spool {place.directory}") from error


def _open_in(
    held: ExitStack,
    fs: FileSystem,
    place: SpoolPlace,
    limits: SpoolLimits,
    now: datetime,
) -> SpoolParts:
    started_s = time.monotonic()
    layout = SpoolLayout(place.directory)
    fs.make_directory(layout.directory)
    held.callback(os.close, take_lock(layout.receiver_lock, "receiver"))
    layout.make(fs)
    if place.directory == place.gateway_directory:
        identity = load_or_mint_identity(fs, layout, place.site, now)
    else:
        identity = worker_identity(fs, layout)
    watermarks = Watermarks(fs, place.gateway_directory, identity, limits)
    mark_descriptor = fs.open(layout.mark, CREATE)
    held.callback(fs.close, mark_descriptor)

    recovered = recover(fs, layout, limits.segment_bytes, mark_descriptor)
    health = SpoolHealth()
    supply = SegmentSupply(fs, layout, limits, health)
    log = SpoolLog(fs, layout, supply, recovered.ledger, mark_descriptor)
    held.callback(log.close)
    held.callback(supply.close)
    supply.start(recovered.empty, recovered.last_number + 1)
    log.start(recovered.tail, recovered.last_sequence, START_WAIT_S)
    report = _close_lost(log, recovered, now, started_s)

    committer = Committer(log, limits, health)
    committer.start()
    sinks = SinkContext(fs, layout, limits, health, committer, taken=watermarks.taken)
    return SpoolParts(
        identity, report, health, watermarks, supply, log, committer, sinks, held.pop_all()
    )


def _close_lost(
    log: SpoolLog, recovered: Recovered, now: datetime, started_s: float
) -> RecoveryReport:
    """Writes the checkpoint of this start and the records that close what a crash left open."""
    lost = recovered.ledger.close_lost(now)
    associations = sum(isinstance(entry, AssociationClosed) for entry in lost)
    log.write_all([Pending(Sealed.of(entry)) for entry in lost])
    return RecoveryReport(
        records=recovered.records,
        associations_lost=associations,
        receipts_added=len(lost) - associations,
        objects_deleted=recovered.objects_deleted,
        damaged=tuple(recovered.damaged),
        elapsed_ms=round((time.monotonic() - started_s) * 1000),
    )
