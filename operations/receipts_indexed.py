"""Whether the index holds every receipt that the topic had a moment ago.

Invariant: an index is called complete only when its consumer has committed up to the topic's end
and the last records of each partition are found in it, so that neither a consumer that is behind
nor an index that was restored from a backup passes. Reads only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from consumers.metadata_index import SPEC
from contracts import codec
from contracts.events import AssociationReceipt
from contracts.failures import PoisonError
from contracts.topics import RECEIPT
from infra.cluster_view import ClusterView
from infra.connect import Engines
from infra.seams import Database
from infra.settings import KafkaSettings
from infra.topic_tail import TopicTail

# A batch of the index is at most half a second old, plus its insert.
COMMITTED_WITHIN_S, POLL_S = 15.0, 0.5
# Pages of each partition that are looked up; a backup lacks the last of them before any other.
PAGES_LOOKED_UP = 20

_Page = tuple[str, str, int]  # gateway_id, association_id, page_index


def faults_of_receipts(engines: Engines) -> tuple[str, ...]:
    """Why the index cannot speak for the receipts; empty where it can.

    Raises RetryableError, FatalError.
    """
    kafka = engines.settings.kafka
    tail = TopicTail(kafka, RECEIPT.name)
    try:
        begins, ends = tail.beginning_offsets(), tail.end_offsets()
    finally:
        tail.close()
    behind = _behind(kafka, begins, ends)
    if behind:
        return (f"{SPEC.name} has {behind} records of {RECEIPT.name} yet to read",)
    starts = {n: max(begins[n], end - PAGES_LOOKED_UP) for n, end in ends.items()}
    entries = dict(_pages(kafka, starts, ends))
    lacked = _lacked(engines.primary.database, entries)
    if lacked:
        return (
            f"ClickHouse {engines.primary.name} lacks {lacked} of the last {len(entries)} pages"
            f" of {RECEIPT.name}: see `hilum replay --into shadow`",
        )
    return ()


def _behind(kafka: KafkaSettings, begins: Mapping[int, int], ends: Mapping[int, int]) -> int:
    """How many records below `ends` stay uncommitted for COMMITTED_WITHIN_S."""
    until = time.monotonic() + COMMITTED_WITHIN_S
    view = ClusterView(kafka)
    try:
        while True:
            committed = view.committed(SPEC.name, RECEIPT.name)
            behind = sum(
                max(0, end - max(begins[number], committed.get(number, 0)))
                for number, end in ends.items()
            )
            if not behind or time.monotonic() > until:
                return behind
            time.sleep(POLL_S)
    finally:
        view.close()


def _pages(
    kafka: KafkaSettings, starts: Mapping[int, int], ends: Mapping[int, int]
) -> Iterator[tuple[_Page, int]]:
    """The pages in a stretch of the topic, each with the number of its entries."""
    tail = TopicTail(kafka, RECEIPT.name, start=starts)
    try:
        for records in tail.read_until(ends):
            for record in records:
                try:
                    page = codec.decode(record.value or b"", AssociationReceipt)
                except PoisonError:
                    continue
                key = (page.gateway_id, page.association_id, page.page_index)
                if record.offset < ends[record.partition] and page.entries:
                    yield key, len(page.entries)
    finally:
        tail.close()


def _lacked(database: Database, entries: Mapping[_Page, int]) -> int:
    rows = database.query(
        "SELECT gateway_id, association_id, page_index, uniqExact(entry_index) AS entries"
        " FROM receipt_rows WHERE gateway_id IN {gateways:Array(String)}"
        " AND association_id IN {associations:Array(String)}"
        " GROUP BY gateway_id, association_id, page_index",
        {
            "gateways": sorted({gateway for gateway, _, _ in entries}),
            "associations": sorted({association for _, association, _ in entries}),
        },
    )
    found = {
        (str(r["gateway_id"]), str(r["association_id"]), int(str(r["page_index"]))): int(
            str(r["entries"])
        )
        for r in rows
    }
    return sum(found.get(page, 0) < count for page, count in entries.items())
