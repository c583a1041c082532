"""Writes the index of one site: the events' rows first, then what follows from them.

Invariant: inserting comes before composing, always; whatever is repeated, in whichever order,
ends in the same views. It must not know offsets, and no row's identity depends on the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import fields
from functools import partial
from operator import attrgetter
from threading import Barrier

from consumers import index_rows as rows
from consumers.index_compose import archived_among, compose_conflicts, compose_instances
from consumers.index_header import describe
from consumers.index_input import size_bytes
from contracts.events import (
    Area,
    AssociationReceipt,
    InstanceReceived,
    PackArchived,
    PackReplicated,
)
from contracts.identity import ContentKey
from infra.clock import Clock
from infra.seams import Database

THREADS = 2
# Of `received` the engine takes one part's rows while the next one's headers are read.
PART_BYTES_MAX = 16 * 1024 * 1024
# As `received` is sorted, so the engine need not sort; and headers of a series stand together.
_as_stored = attrgetter(
    *(f"content.{field.name}" for field in fields(ContentKey)), "delivery_id", "scanner_version"
)


class IndexWriter:
    """The index tables of one site's database; `close` ends its threads."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="index")
        # Begun here, where memory is not yet short: a thread that finds none for its first steps
        # never says that it has begun, and whoever starts it waits for that for ever.
        begun = Barrier(THREADS)
        wait([self._threads.submit(begun.wait) for _ in range(THREADS)])

    def write(
        self,
        *,
        received: Sequence[InstanceReceived] = (),
        archived: Sequence[PackArchived] = (),
        replicated: Sequence[PackReplicated] = (),
        receipts: Sequence[AssociationReceipt] = (),
    ) -> None:
        """On return every view tells these events. Idempotent, in any order.

        Deliveries that a gateway or the archive set aside are in `deliveries` and `quarantine`
        and in no other view. Raises RetryableError, PoisonError (some value cannot be stored),
        FatalError.
        """
        packs = rows.in_area(archived, Area.PACKS)
        now = self._clock.now()
        described: list[rows.Described] = []
        pending: list[Future[None]] = []
        try:
            for part in _parts(sorted(received, key=_as_stored)):
                told = [(event, describe(event.header)) for event in part]
                described += told
                regular = _regular(told)
                pending.append(self._begin("received", partial(rows.received_columns, regular)))
            regular = _regular(described)
            delivered = (described, archived, replicated, receipts, now)
            pending += [
                self._begin("sop_contents", partial(rows.sop_content_columns, regular)),
                self._begin("archived", partial(rows.archived_columns, packs)),
                self._begin("receipt_rows", partial(rows.receipt_columns, receipts)),
                self._begin("association_rows", partial(rows.association_columns, receipts)),
                self._begin("delivery_rows", partial(rows.delivery_columns, *delivered)),
            ]
        finally:
            wait(pending)
        for insert in pending:
            insert.result()
        self._compose([event.content for event, _ in regular], packs)

    def close(self) -> None:
        """Ends the threads. Nothing is under way between two calls of `write`."""
        self._threads.shutdown()

    def _compose(self, told: Sequence[ContentKey], packs: Sequence[PackArchived]) -> None:
        located = {member.content for _, member in rows.members_of(packs)}
        waiting = [content for content in told if content not in located]
        # Side by side: neither reads what the other writes.
        conflicts = self._threads.submit(compose_conflicts, self._database, told)
        try:
            whole = archived_among(self._database, waiting)
            compose_instances(self._database, [*located, *whole])
        finally:
            wait([conflicts])
        conflicts.result()

    def _begin(self, table: str, columns_of: Callable[[], rows.Columns]) -> Future[None]:
        """The engine takes one table's rows while the next one's are made into columns."""

        def insert() -> None:
            columns = columns_of()
            if any(columns.values()):
                self._database.table(table).insert(columns)

        return self._threads.submit(insert)


def _parts(events: Sequence[InstanceReceived]) -> Iterator[Sequence[InstanceReceived]]:
    """All of them in their order, in parts of about equal size."""
    sizes = list(map(size_bytes, events))
    whole = sum(sizes)
    enough = whole / -(-whole // PART_BYTES_MAX) if whole else 0
    begin, gathered = 0, 0
    for end, size in enumerate(sizes, 1):
        gathered += size
        if gathered >= enough or end == len(sizes):
            yield events[begin:end]
            begin, gathered = end, 0


def _regular(described: Sequence[rows.Described]) -> list[rows.Described]:
    return [row for row in described if row[0].quarantine_reason is None]
