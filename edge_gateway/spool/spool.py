"""The receiver's side of the spool: what is accepted becomes durable here, or is refused.

Invariant (promise 1): a delivery that `commit` returned is recovered after any kill or power loss,
byte for byte, and nothing is recovered that was not received. One process per directory. Must not
know Kafka, DICOM parsing or the forwarder's states.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from edge_gateway.spool.entry import (
    AssociationClosed,
    AssociationOpened,
    DeliveryFacts,
    Ending,
    Entry,
    Receipt,
    encode_entry,
)
from edge_gateway.spool.filesystem import FileSystem
from edge_gateway.spool.layout import GatewayIdentity, require_delivery_id
from edge_gateway.spool.limits import Admission, RecoveryReport, SpoolLimits, SpoolStatistics
from edge_gateway.spool.opening import SpoolParts, SpoolPlace, open_parts
from edge_gateway.spool.pending import Pending
from edge_gateway.spool.sealing import Sealed
from edge_gateway.spool.sink import DeliverySink
from infra.clock import Clock, SystemClock

# Length, sha256, quarantine reason and flags that `commit` adds to the facts.
_COMMIT_META_BYTES = 1024


class Spool:
    """An open spool directory, held by this process until `close` or its end."""

    def __init__(self, parts: SpoolParts, limits: SpoolLimits, clock: Clock) -> None:
        self._parts = parts
        self._limits = limits
        self._clock = clock
        self._totals_lock = threading.Lock()
        self._totals: dict[str, Counter[int]] = {}

    @classmethod
    def open(
        cls,
        directory: Path,
        site: str,
        limits: SpoolLimits | None = None,
        *,
        gateway_directory: Path | None = None,
        clock: Clock | None = None,
        fs: FileSystem | None = None,
    ) -> Spool:
        """Opens, recovering whatever was left, or creates; see `recovery` for what was found.

        `gateway_directory` is given for a worker's directory: watermarks are the gateway's.

        On return a torn tail is dropped, orphans are deleted, associations that a crash left open
        are closed as `gateway_lost` (durable deliveries without a receipt get one with 0x0000),
        and all of that is flushed. Raises SpoolLocked, SpoolMismatch (settings, other site),
        SpoolCorrupt (gateway.json), SpoolFull (no room even for a first segment), SpoolBroken.
        """
        limits, clock = limits or SpoolLimits(), clock or SystemClock()
        place = SpoolPlace(directory, site, gateway_directory or directory)
        parts = open_parts(fs or FileSystem(), place, limits, clock.now())
        return cls(parts, limits, clock)

    @property
    def identity(self) -> GatewayIdentity:
        """Site and gateway_id of this directory."""
        return self._parts.identity

    @property
    def recovery(self) -> RecoveryReport:
        """What `open` found."""
        return self._parts.recovery

    @property
    def broken(self) -> str | None:
        """Why nothing is acknowledged any more until a restart; None while all is well."""
        return self._parts.health.broken

    @property
    def spool_bytes_max(self) -> int:
        """The upper watermark in force."""
        return self._parts.watermarks.spool_bytes_max

    def admission(self) -> Admission:
        """Whether new associations and objects are to be accepted; at most 3 s old, cheap."""
        return self._parts.watermarks.admission(self._parts.health, self._parts.supply)

    def statistics(self) -> SpoolStatistics:
        """Counts since `open`, for metrics."""
        return SpoolStatistics(
            flushes=self._parts.log.flushes,
            records=self._parts.log.records,
            deliveries=self._parts.log.deliveries,
            memory_bytes=self._parts.sinks.budget.taken_bytes,
        )

    def begin(
        self, facts: DeliveryFacts, when_stalled: Callable[[], None] = lambda: None
    ) -> DeliverySink:
        """A sink for one data set; `commit` it or `abort` it. Nothing is durable before commit.

        `when_stalled` is what to do, from another thread, when `commit` has to flush itself and
        is not back from the disk at its deadline (see `DeliverySink.commit`).

        Raises SpoolBroken, and ValueError for facts that cannot be a record (a delivery_id that
        is no UUID, text that is not Unicode, more than 128 KiB of it).
        """
        self._parts.health.require()
        require_delivery_id(facts.delivery_id)
        facts_json = encode_entry(facts)
        # Room for what `commit` adds: length, sha256, reason.
        if len(facts_json) + _COMMIT_META_BYTES > self._limits.meta_bytes_max:
            raise ValueError(f"facts above {self._limits.meta_bytes_max} bytes")
        return DeliverySink(self._parts.sinks, facts, facts_json, when_stalled)

    def append_receipt(self, receipt: Receipt) -> None:
        """Records an answer; returns at once, flushed after 100 ms at the latest.

        Raises SpoolBroken, and SpoolFull when the queue stays full.
        """
        self._append(receipt)
        with self._totals_lock:
            totals = self._totals.get(receipt.association_id)
            if totals is not None:
                totals[receipt.status] += 1

    def association_opened(self, opened: AssociationOpened) -> None:
        """Records that an association was accepted; flushed like a receipt. Raises likewise."""
        with self._totals_lock:
            self._totals[opened.association_id] = Counter()
        self._append(opened)

    def association_closed(self, association_id: str, ending: Ending) -> AssociationClosed:
        """Records how an association ended, with the totals of its receipts; raises likewise."""
        with self._totals_lock:
            totals = self._totals.pop(association_id, Counter())
        closed = AssociationClosed(
            association_id=association_id,
            ending=ending,
            status_totals=tuple(sorted(totals.items())),
            closed_at=self._clock.now(),
        )
        self._append(closed)
        return closed

    def close(self) -> None:
        """Flushes what is queued and lets go of the directory. Sinks left open are the caller's."""
        self._parts.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _append(self, entry: Entry) -> None:
        self._parts.committer.append(Pending(Sealed.of(entry)))
