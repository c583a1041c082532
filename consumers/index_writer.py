"""Writes the index of one site: the events' rows first, then what follows from them.

Invariant: inserting comes before composing, always; whatever is repeated, in whichever order,
ends in the same views. It must not know offsets, and no row's identity depends on the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from consumers import index_rows as rows
from consumers.index_compose import archived_among, compose_conflicts, compose_instances
from consumers.index_header import describe
from contracts.events import (
    Area,
    AssociationReceipt,
    InstanceReceived,
    PackArchived,
    PackReplicated,
)
from infra.clock import Clock
from infra.seams import Database

INSERTS_AT_ONCE = 2


class IndexWriter:
    """The index tables of one site's database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

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
        # Series by series: headers of one are nearly the same, and so are their rows.
        by_series = sorted(received, key=lambda event: event.content.series_instance_uid)
        described = [(event, describe(event.header)) for event in by_series]
        regular = [row for row in described if row[0].quarantine_reason is None]
        now = self._clock.now()
        self._insert_all(
            {
                "received": lambda: rows.received_columns(regular),
                "sop_contents": lambda: rows.sop_content_columns(regular),
                "archived": lambda: rows.archived_columns(packs),
                "receipt_rows": lambda: rows.receipt_columns(receipts),
                "association_rows": lambda: rows.association_columns(receipts),
                "delivery_rows": lambda: rows.delivery_columns(
                    described, archived, replicated, receipts, now
                ),
            }
        )
        told = [event.content for event, _ in regular]
        located = {member.content for _, member in rows.members_of(packs)}
        waiting = [content for content in told if content not in located]
        whole = archived_among(self._database, waiting)
        compose_instances(self._database, [*located, *whole])
        compose_conflicts(self._database, told)

    def _insert_all(self, columns_of: Mapping[str, Callable[[], rows.Columns]]) -> None:
        # The engine takes one table's rows while the next one's are made into columns.
        with ThreadPoolExecutor(INSERTS_AT_ONCE, thread_name_prefix="insert") as inserts:
            pending = [inserts.submit(self._insert, *told) for told in columns_of.items()]
        for insert in pending:
            insert.result()

    def _insert(self, table: str, columns_of: Callable[[], rows.Columns]) -> None:
        columns = columns_of()
        if any(columns.values()):
            self._database.table(table).insert(columns)
