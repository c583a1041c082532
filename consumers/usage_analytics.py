"""Tells how much each site and AE title sends: facts per delivery, totals per minute, published.

Invariant: every minute that is over is published with the totals that its facts give, and again
when they change, also when this process dies at any point. It must not count a batch.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from consumers.announce import Announcer
from consumers.index_input import fault_of, size_bytes
from consumers.spec import BatchLimits, ConsumerSpec, Record, Rejection
from consumers.usage_totals import (
    INTERVALS_MAX,
    Span,
    add_facts,
    changed_intervals,
    days_of_facts,
    keep_published,
)
from contracts.events import (
    AssociationReceipt,
    Event,
    InstanceReceived,
    PackArchived,
    UsageInterval,
)
from contracts.failures import Reason
from contracts.topics import PACK_ARCHIVED, RECEIPT, RECEIVED
from infra.connect import Engines

MIB = 1024 * 1024
# Nothing is told before a minute is over and settled: facts may wait, and an insert for each second
# cost as much as the copying of a pack.
LIMITS = BatchLimits(records_max=5_000, bytes_max=32 * MIB, age_ms_max=5_000)
# A minute is told this long after its end, so that most of its facts are there.
SETTLE = timedelta(seconds=60)
# Most late facts are of the last hours: these are compared in every round, days one by one.
WINDOW = timedelta(hours=2)
ROUND_INTERVAL_S = 5.0


class UsageAnalytics:
    """The writer of `usage-analytics`.

    What was dirty when a process died is nowhere noted and need not be: a round compares facts
    with what was published, and after the start and after every write it goes through all days.
    """

    def __init__(self, engines: Engines) -> None:
        self._database = engines.primary.database
        self._clock = engines.clock
        self._announcer = Announcer(engines.publisher, engines.clock)
        self._next_round_at = self._clock.monotonic()
        self._told_until = closed_until(engines.clock.now())
        self._has_new_facts = True
        self._days: deque[date] = deque()

    def write(self, batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        rejections = []
        good: dict[type[Event], list[Any]] = {event_type: [] for event_type in SPEC.inputs.values()}
        for record in batch:
            if fault := fault_of(record.event):
                rejections.append(Rejection(record, Reason.INVALID_FIELD, fault))
            else:
                good[type(record.event)].append(record.event)
        self._has_new_facts = True
        add_facts(
            self._database, good[InstanceReceived], good[PackArchived], good[AssociationReceipt]
        )
        return rejections

    def tick(self) -> None:
        """A round every ROUND_INTERVAL_S: the window, and one day of a walk through all days."""
        if self._clock.monotonic() < self._next_round_at:
            return
        self._next_round_at = self._clock.monotonic() + ROUND_INTERVAL_S
        closed = closed_until(self._clock.now())
        # From where the last round ended: minutes that closed during an outage are not skipped.
        if self._publish(Span(min(closed, self._told_until) - WINDOW, closed)):
            self._told_until = closed
        self._walk(closed)

    def close(self) -> None:
        """Nothing is held here."""

    def _walk(self, closed: datetime) -> None:
        if not self._days and self._has_new_facts:
            self._days.extend(days_of_facts(self._database))
            # Facts that come during the walk start another one after it.
            self._has_new_facts = False
        if self._days and self._publish(Span.of_day(self._days[-1]).closed_by(closed)):
            self._days.pop()

    def _publish(self, span: Span) -> bool:
        """Publishes what differs in `span`; False where there is more of it."""
        intervals = changed_intervals(self._database, span, self._clock.now())
        self._announcer.forget()
        for interval in intervals:
            self._announcer.publish(interval, interval.site.encode(), event_id_of(interval))
        self._announcer.wait()
        # After the acknowledgement: what dies between is published again, and never left out.
        keep_published(self._database, intervals)
        return len(intervals) < INTERVALS_MAX


def closed_until(now: datetime) -> datetime:
    """The end of the last minute that is to be told."""
    return (now - SETTLE).replace(second=0, microsecond=0)


def event_id_of(interval: UsageInterval) -> str:
    """One id for one computation of one interval."""
    names = ("site", "calling_ae_title", "modality", "minute", "computed_at")
    text = "\n".join(str(getattr(interval, name)) for name in names)
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text))


SPEC = ConsumerSpec(
    name="usage-analytics",
    inputs={
        RECEIVED: InstanceReceived,
        PACK_ARCHIVED: PackArchived,
        RECEIPT: AssociationReceipt,
    },
    limits=LIMITS,
    size_bytes=size_bytes,
    build=UsageAnalytics,
)
