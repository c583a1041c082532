"""The usage tables: facts per delivery in, intervals that differ from what was published out.

Invariant: totals are counted from all facts of their minute, never from a batch; an interval is
told again exactly while it differs from what was last published. It must not publish.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, cast

from consumers.index_header import modality_of
from contracts.events import AssociationReceipt, InstanceReceived, PackArchived, UsageInterval
from infra.seams import Database

# One comparison gives this many intervals at most; the next one gives the others.
INTERVALS_MAX = 2_000
_COUNTS = "deliveries, size_bytes, archived_deliveries, associations"

# GROUP BY instead of FINAL: it merges a delivery's rows in whichever parts they are. A delivery
# counts once its own event is here; what the archive or a receipt tells before waits for it.
_CHANGED = f"""
WITH facts AS
(
    SELECT toStartOfMinute(assumeNotNull(at)) AS minute, site, calling_ae_title, modality,
        count() AS deliveries, sum(size_bytes) AS size_bytes,
        countIf(is_archived) AS archived_deliveries, uniqExact(association_id) AS associations
    FROM
    (
        SELECT max(f.received_at) AS at, max(f.site) AS site,
            max(f.calling_ae_title) AS calling_ae_title, max(f.scanned).2 AS modality,
            max(f.size_bytes) AS size_bytes, max(isNotNull(f.archived_at)) AS is_archived,
            max(f.association_id) AS association_id
        FROM usage_facts AS f
        WHERE f.delivery_id IN
        (
            SELECT delivery_id FROM usage_facts
            WHERE received_at >= {{since:DateTime64(6, 'UTC')}}
                AND received_at < {{until:DateTime64(6, 'UTC')}}
        )
        GROUP BY f.delivery_id
    )
    GROUP BY minute, site, calling_ae_title, modality
),
published AS
(
    SELECT minute, site, calling_ae_title, modality, {_COUNTS}, computed_at
    FROM usage_intervals FINAL
    WHERE minute >= {{since:DateTime64(6, 'UTC')}} AND minute < {{until:DateTime64(6, 'UTC')}}
)
SELECT minute, site, calling_ae_title, modality,
    sumIf(b.deliveries, b.is_fact) AS deliveries, sumIf(b.size_bytes, b.is_fact) AS size_bytes,
    sumIf(b.archived_deliveries, b.is_fact) AS archived_deliveries,
    sumIf(b.associations, b.is_fact) AS associations, max(b.computed_at) AS published_at
FROM
(
    SELECT minute, site, calling_ae_title, modality, {_COUNTS},
        toDateTime64(0, 6, 'UTC') AS computed_at, true AS is_fact
    FROM facts
    UNION ALL
    SELECT minute, site, calling_ae_title, modality, {_COUNTS}, computed_at, false
    FROM published
) AS b
GROUP BY minute, site, calling_ae_title, modality
HAVING (deliveries, size_bytes, archived_deliveries, associations) !=
    (sumIf(b.deliveries, NOT b.is_fact), sumIf(b.size_bytes, NOT b.is_fact),
     sumIf(b.archived_deliveries, NOT b.is_fact), sumIf(b.associations, NOT b.is_fact))
ORDER BY minute DESC, site, calling_ae_title, modality
LIMIT {INTERVALS_MAX}
"""

_DAYS = """
SELECT day FROM
(
    SELECT DISTINCT toDate(assumeNotNull(received_at)) AS day FROM usage_facts
    WHERE isNotNull(received_at)
    UNION DISTINCT
    SELECT DISTINCT toDate(minute) AS day FROM usage_intervals
)
ORDER BY day
"""


@dataclass(frozen=True, slots=True)
class Span:
    """From `since` up to and without `until`, whole minutes."""

    since: datetime
    until: datetime

    @staticmethod
    def of_day(day: date) -> Span:
        """A calendar day, UTC."""
        since = datetime.combine(day, time(), UTC)
        return Span(since, since + timedelta(days=1))

    def closed_by(self, until: datetime) -> Span:
        """What of it has ended by `until`."""
        return Span(self.since, min(self.until, until))


def add_facts(
    database: Database,
    received: Sequence[InstanceReceived],
    archived: Sequence[PackArchived],
    receipts: Sequence[AssociationReceipt],
) -> None:
    """Inserts what these events tell of their deliveries. Idempotent, in any order.

    Raises RetryableError, PoisonError, FatalError.
    """
    rows: list[Mapping[str, object]] = [
        *map(_received_fact, received),
        *_archived_facts(archived),
        *_receipt_facts(receipts),
    ]
    if rows:
        columns = {name: [row.get(name, untold) for row in rows] for name, untold in _UNTOLD}
        database.table("usage_facts").insert(columns)


def changed_intervals(database: Database, span: Span, now: datetime) -> list[UsageInterval]:
    """Intervals in `span` whose totals differ from the published ones, INTERVALS_MAX at most.

    One whose facts went to another modality is told with zeros. `computed_at` is `now`, or just
    after the one that was published where that is later: a clock set back must not let the older
    totals stand.
    """
    if span.until <= span.since:
        return []
    found = database.query(_CHANGED, {"since": span.since, "until": span.until})
    return [_interval(cast(dict[str, Any], row), now) for row in found]


def keep_published(database: Database, intervals: Sequence[UsageInterval]) -> None:
    """Notes that these were published; a repeat is harmless."""
    if intervals:
        names = UsageInterval.__slots__
        columns = {name: [getattr(row, name) for row in intervals] for name in names}
        database.table("usage_intervals").insert(columns)


def days_of_facts(database: Database) -> list[date]:
    """Every day that has facts or published intervals, oldest first."""
    return [cast(date, row["day"]) for row in database.query(_DAYS)]


_UNTOLD: Sequence[tuple[str, object]] = (
    ("delivery_id", ""),
    ("site", ""),
    ("calling_ae_title", ""),
    ("association_id", ""),
    ("scanned", (0, "")),
    ("received_at", None),
    ("size_bytes", 0),
    ("archived_at", None),
    ("response_status", None),
)


def _received_fact(event: InstanceReceived) -> Mapping[str, object]:
    return {
        "delivery_id": event.delivery_id,
        "site": event.site,
        "calling_ae_title": event.calling_ae_title,
        "association_id": event.association_id,
        "scanned": (event.scanner_version, modality_of(event.header)),
        "received_at": event.received_at,
        "size_bytes": event.size_bytes,
    }


def _archived_facts(packs: Sequence[PackArchived]) -> Iterator[Mapping[str, object]]:
    for pack in packs:
        for member in pack.members:
            yield {"delivery_id": member.delivery_id, "archived_at": pack.archived_at}


def _receipt_facts(pages: Sequence[AssociationReceipt]) -> Iterator[Mapping[str, object]]:
    for page in pages:
        for entry in page.entries:
            if entry.delivery_id:
                yield {
                    "delivery_id": entry.delivery_id,
                    "site": page.site,
                    "calling_ae_title": page.calling_ae_title,
                    "association_id": page.association_id,
                    "response_status": entry.status,
                }


def _interval(row: Mapping[str, Any], now: datetime) -> UsageInterval:
    return UsageInterval(
        site=row["site"],
        calling_ae_title=row["calling_ae_title"],
        modality=row["modality"],
        minute=row["minute"],
        deliveries=row["deliveries"],
        size_bytes=row["size_bytes"],
        archived_deliveries=row["archived_deliveries"],
        associations=row["associations"],
        computed_at=max(now, row["published_at"] + timedelta(microseconds=1)),
    )
