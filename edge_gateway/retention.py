"""Gives the spool's room back: hold time, purge, copying forward, recycling of segments.

Invariant: only bytes that custody resolved (or the centre released) are removed, and only after
the ledger that says so survives a power loss; a segment goes when nothing in it is needed any
more. Must not decide what custody means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from edge_gateway.forward_health import ForwardHealth
from edge_gateway.progress import Progress
from edge_gateway.progress_rows import DeliveryState, LedgerEntry
from edge_gateway.spool import (
    SpoolCorrupt,
    SpoolEntryGone,
    SpoolError,
    SpoolSet,
    Usage,
)
from edge_gateway.spool.entry import encode_entry
from edge_gateway.spool.limits import FREE_SEGMENTS_MAX, default_free_bytes_min
from edge_gateway.spool_feed import facts_of
from infra.clock import Clock
from infra.telemetry import logger

STEP_INTERVAL_S = 1.0
REMNANTS_INTERVAL_S = 60.0
PURGES_PER_STEP = 1_000
# Above this share of spool_bytes_max the hold ends early (02-gateway.md).
EARLY_SHARE = 0.6
# So it does where the disk itself is within this factor of what the receiver keeps free of it,
# whoever fills it: nobody is refused for copies of what the archive has.
EARLY_FREE_FACTOR = 1.5
# A segment is worth saving the rest of when that is at most this many deliveries and this share.
REMNANTS_MAX = 64
REMNANT_SHARE = 0.25
# Without need for room, what is stuck is copied only when it has outlived the hold by so much.
STUCK_AFTER = timedelta(hours=1)
# Rows of purged deliveries answer requests and storage commitment for so long.
PURGED_ROWS_KEPT = timedelta(days=90)
_LOG = logger("retention")


@dataclass(frozen=True, slots=True)
class RetentionLimits:
    """How much all spools may take, and how long archived deliveries stay in them.

    `free_bytes_min` None is the receiver's own default, from the size of the disk.
    """

    segment_bytes: int
    spool_bytes_max: int
    hold_s: int
    free_bytes_min: int | None = None
    purged_rows_kept: timedelta = PURGED_ROWS_KEPT


class SegmentNeeds(Protocol):
    """What of a segment is needed beside its deliveries."""

    def has_receipts_in(self, segment: int) -> bool: ...

    def has_ends_in(self, segment: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class RetentionParts:
    """What retention works with."""

    progress: Progress
    receipts: SegmentNeeds
    spools: SpoolSet
    health: ForwardHealth
    clock: Clock


class Retention:
    """Runs every STEP_INTERVAL_S in the main loop. `spool_bytes` is what it measured last."""

    def __init__(self, parts: RetentionParts, limits: RetentionLimits) -> None:
        self._parts = parts
        self._limits = limits
        self._stepped_at: float | None = None
        self._saved_at = parts.clock.monotonic()
        self.spool_bytes = 0

    def begin(self) -> None:
        """Removes the files of deliveries that were purged just before a crash."""
        for delivery_id in self._parts.spools.delivery_ids_of_files():
            known = self._parts.progress.find(delivery_id)
            if known is not None and known.state is DeliveryState.PURGED:
                self._parts.spools.purge(delivery_id)

    def step(self, is_read: Callable[[int], bool]) -> None:
        """Purges, copies forward and recycles what may go; segments not yet read wholly stay.

        A refusal of the disk is told in readiness and tried again.
        """
        now = self._parts.clock.monotonic()
        if self._stepped_at is not None and now - self._stepped_at < STEP_INTERVAL_S:
            return
        self._stepped_at = now
        try:
            self._run(is_read)
            self._parts.health.clear("retention")
        except SpoolError as problem:
            self._parts.health.impede("retention", f"not releasing the spool: {problem}")
            _LOG.error("releasing the spool failed", reason=str(problem))

    def remove(self, delivery_ids: Sequence[str]) -> None:
        """Removes the own files of deliveries that the ledger calls purged."""
        if delivery_ids:
            self._parts.progress.commit_durably()
            for delivery_id in delivery_ids:
                self._parts.spools.purge(delivery_id)

    def _run(self, is_read: Callable[[int], bool]) -> None:
        now = self._parts.clock.now()
        progress = self._parts.progress
        hold_ended = now - timedelta(seconds=self._limits.hold_s)
        self._purge(progress.resolved_before(hold_ended, PURGES_PER_STEP))
        usage = self._measure()
        is_disk_short = self._is_disk_short(usage)
        needs_room = is_disk_short or (
            self.spool_bytes > EARLY_SHARE * self._limits.spool_bytes_max
        )
        if needs_room:
            self._purge(progress.oldest_resolved(PURGES_PER_STEP))
        done = [n for n in self._parts.spools.segment_numbers() if is_read(n)]
        if needs_room or self._is_time_for_remnants():
            for number in done:
                self._save_remnants(number, needs_room)
        # A segment kept for recycling is not free to the disk.
        self._recycle(done, needs_room, 0 if is_disk_short else FREE_SEGMENTS_MAX)
        progress.forget_purged(self._limits.purged_rows_kept, now, PURGES_PER_STEP)

    def _is_time_for_remnants(self) -> bool:
        now = self._parts.clock.monotonic()
        if now - self._saved_at < REMNANTS_INTERVAL_S:
            return False
        self._saved_at = now
        return True

    def _measure(self) -> Usage:
        usage = self._parts.spools.usage()
        self.spool_bytes = usage.bytes
        return usage

    def _is_disk_short(self, usage: Usage) -> bool:
        kept_free = self._limits.free_bytes_min
        if kept_free is None:
            kept_free = default_free_bytes_min(usage.disk_bytes)
        return usage.disk_free_bytes < EARLY_FREE_FACTOR * kept_free

    def _purge(self, entries: Sequence[LedgerEntry]) -> None:
        ids = [entry.delivery_id for entry in entries]
        if ids:
            self._parts.progress.purge(ids, self._parts.clock.now())
            self.remove(ids)
            _LOG.info("purged", deliveries=len(ids))

    def _save_remnants(self, segment: int, needs_room: bool) -> None:
        """Copies a segment's last live deliveries out of it, where that frees the rest."""
        rest = self._parts.progress.rest_of(segment, REMNANTS_MAX + 1)
        is_small = rest.size_bytes <= REMNANT_SHARE * self._limits.segment_bytes
        if not 0 < rest.deliveries <= REMNANTS_MAX or not is_small:
            return
        # Without need for room: only where none of them is about to leave by itself.
        age = self._parts.clock.now() - rest.newest_received_at
        if not needs_room and age < timedelta(seconds=self._limits.hold_s) + STUCK_AFTER:
            return
        entries = self._parts.progress.live_in(segment, REMNANTS_MAX)
        moved = sum(self._move(entry) for entry in entries)
        _LOG.info("copied forward", segment=segment, deliveries=moved, of=len(entries))

    def _move(self, entry: LedgerEntry) -> bool:
        """False for one that has rotted: it keeps its segment and holds up no other."""
        try:
            delivery = facts_of(self._parts.spools, entry)
            location = self._parts.spools.copy_forward(delivery, entry.location)
        except (SpoolCorrupt, SpoolEntryGone) as problem:
            _LOG.error("not copied forward", delivery_id=entry.delivery_id, problem=str(problem))
            return False
        self._parts.progress.move(entry.delivery_id, location, encode_entry(delivery))
        return True

    def _recycle(self, numbers: Sequence[int], needs_room: bool, free_max: int) -> None:
        free = [number for number in numbers if self._is_free(number, needs_room)]
        if not free:
            return
        self._parts.progress.commit_durably()
        released = 0
        for number in free:
            try:
                self._parts.spools.release_segment(number, free_max=free_max)
                released += 1
            except SpoolCorrupt as problem:
                # The receiver's next start sets it aside; until then the others still go.
                _LOG.error("not recycled", segment=number, problem=str(problem))
        if released:
            _LOG.info("recycled", segments=released)
        self._measure()

    def _is_free(self, number: int, needs_room: bool) -> bool:
        """Nothing in it is needed. Need for room goes before an association's opening record.

        (The ledger knows that as well; only one that is lost together with the segment would
        publish the association without its AE titles.)
        """
        progress, receipts = self._parts.progress, self._parts.receipts
        if progress.has_live_in(number) or receipts.has_receipts_in(number):
            return False
        return needs_room or not receipts.has_ends_in(number)
