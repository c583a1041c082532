"""Writes the index of one site: the events' rows first, then what follows from them.

Invariant: inserting comes before composing, always; whatever is repeated, in whichever order,
ends in the same views. It must not know offsets, and no row's identity depends on the clock.
"""

from __future__ import annotations

from collections.abc import Sequence

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
        described = [(event, describe(event.header)) for event in received]
        regular = [row for row in described if row[0].quarantine_reason is None]
        self._insert("received", rows.received_columns(regular))
        self._insert("sop_contents", rows.sop_content_columns(regular))
        self._insert("archived", rows.archived_columns(packs))
        self._insert("receipt_rows", rows.receipt_columns(receipts))
        self._insert("association_rows", rows.association_columns(receipts))
        now = self._clock.now()
        deliveries = rows.delivery_columns(described, archived, replicated, receipts, now)
        self._insert("delivery_rows", deliveries)
        told = [event.content for event, _ in regular]
        located = {member.content for _, member in rows.members_of(packs)}
        waiting = [content for content in told if content not in located]
        whole = archived_among(self._database, waiting)
        compose_instances(self._database, [*located, *whole])
        compose_conflicts(self._database, told)

    def _insert(self, table: str, columns: rows.Columns) -> None:
        if any(columns.values()):
            self._database.table(table).insert(columns)
