"""The spooled deliveries by priority, out of the forwarder's progress ledger.

Invariant: deliveries of one priority keep the order of acceptance; one of a later priority goes
first once it has waited a step longer for each priority between them. Reads only. Used by the
thread that owns the ledger.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from itertools import islice
from operator import itemgetter

from edge_gateway.progress_rows import COLUMNS, LedgerEntry, entry_of, microseconds
from infra.settings_forwarding import PRIORITIES

_MICROSECOND = timedelta(microseconds=1)


class PriorityView:
    """Asks the table `delivery`; `step` is what one priority weighs in waiting."""

    def __init__(self, connection: sqlite3.Connection, step: timedelta) -> None:
        self._run = connection.execute
        self._step_us = step // _MICROSECOND
        # Here and not among the tables: only a gateway with priorities pays for it.
        self._run(
            "CREATE INDEX IF NOT EXISTS delivery_priority ON delivery (priority, sequence)"
            " WHERE state = 'spooled'"
        )

    def next_spooled(
        self, limit: int, now: datetime, without: Collection[str]
    ) -> list[LedgerEntry]:
        """The first spooled deliveries in their turn, those set aside or in hand not."""
        ranked = [
            self._turns(priority, limit + len(without), microseconds(now))
            for priority in PRIORITIES
        ]
        turns = heapq.merge(*ranked, key=itemgetter(0))
        found = (entry for _, entry in turns if entry.delivery_id not in without)
        return list(islice(found, limit))

    def _turns(self, priority: int, limit: int, now_us: int) -> Iterator[tuple[int, LedgerEntry]]:
        rows = self._run(
            f"SELECT received_at, {COLUMNS} FROM delivery WHERE state = 'spooled'"
            " AND priority = ? AND retry_not_before <= ? ORDER BY sequence LIMIT ?",
            (priority, now_us, limit),
        )
        for row in rows:
            yield int(row[0]) + priority * self._step_us, entry_of(row[1:])
