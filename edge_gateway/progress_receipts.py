"""Associations and their receipts in the ledger, until each page is acknowledged by the bus.

Invariant: a receipt leaves only with `page_published`, in one batch with the page's number; where
a page ends follows from the receipts themselves, so that a repeat is the same page. One thread
only. Must not speak to the bus.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from contracts.events import ReceiptEntry, StatusTotal
from edge_gateway.progress_rows import microseconds, moment

KNOWN_ASSOCIATIONS_MAX = 4_096


@dataclass(frozen=True, slots=True)
class AssociationFacts:
    """Who associated with whom, and since when."""

    association_id: str
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class PendingPage:
    """The next page of an association, as it would be published now.

    `is_full`: no later receipt belongs to it. `ended` is set when it is the last one.
    """

    facts: AssociationFacts
    page_index: int
    entries: tuple[ReceiptEntry, ...]
    last_position: int
    is_full: bool
    ended: str | None
    totals: tuple[StatusTotal, ...]


class ReceiptLedger:
    """The tables `association` and `receipt` of a progress ledger."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        # Each receipt and delivery names its association; SQLite is asked once for each.
        self._known: set[str] = set()

    def open_association(self, facts: AssociationFacts, segment: int | None) -> None:
        """Takes in an association; one that is known already stays as it is."""
        if facts.association_id in self._known:
            return
        if len(self._known) >= KNOWN_ASSOCIATIONS_MAX:
            self._known.clear()
        self._known.add(facts.association_id)
        self._run(
            "INSERT OR IGNORE INTO association (association_id, calling_ae_title,"
            " called_ae_title, peer_address, opened_at, opened_segment)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                facts.association_id,
                facts.calling_ae_title,
                facts.called_ae_title,
                facts.peer_address,
                microseconds(facts.opened_at),
                segment,
            ),
        )

    def close_association(
        self, association_id: str, ending: str, totals: tuple[StatusTotal, ...], segment: int
    ) -> None:
        """Notes how an association ended; its deliveries wait for no further receipt."""
        self._run(
            "UPDATE association SET ending = ?, totals = ?, closed_segment = ?, closed_position ="
            " (SELECT coalesce(max(closed_position), 0) + 1 FROM association)"
            " WHERE association_id = ?",
            (
                ending,
                orjson.dumps([[total.status, total.count] for total in totals]).decode(),
                segment,
                association_id,
            ),
        )
        self._run(
            "UPDATE delivery SET has_receipt = 1 WHERE association_id = ? AND has_receipt = 0",
            (association_id,),
        )

    def add(self, association_id: str, segment: int, entry: ReceiptEntry) -> None:
        """Takes in a receipt; its delivery waits for none any more."""
        self._run(
            "INSERT INTO receipt (association_id, segment, delivery_id, sop_instance_uid,"
            " content_sha256, status, answered_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                association_id,
                segment,
                entry.delivery_id,
                entry.sop_instance_uid,
                entry.content_sha256,
                entry.status,
                microseconds(entry.at),
            ),
        )
        self._run("UPDATE delivery SET has_receipt = 1 WHERE delivery_id = ?", (entry.delivery_id,))

    def settle_segments(self, first: int, before: int) -> None:
        """Deliveries of these segments wait for no receipt: what a rebuilt ledger cannot find."""
        self._run(
            "UPDATE delivery SET has_receipt = 1 WHERE has_receipt = 0"
            " AND segment >= ? AND segment < ?",
            (first, before),
        )

    def forget_before_segment(self, segment: int) -> None:
        """Drops receipts and ended associations of older segments, published or not."""
        self._run("DELETE FROM receipt WHERE segment < ?", (segment,))
        self._run(
            "DELETE FROM association WHERE ending IS NOT NULL AND closed_segment < ?", (segment,)
        )
        self._known.clear()

    def open_with_receipts(self) -> list[str]:
        """Associations that are still open and have receipts to publish."""
        rows = self._run(
            "SELECT association_id FROM association a WHERE ending IS NULL AND EXISTS"
            " (SELECT 1 FROM receipt r WHERE r.association_id = a.association_id)"
        )
        return [str(row[0]) for row in rows]

    def closed(self, limit: int) -> list[str]:
        """Ended associations whose last page is not yet published, first ended first."""
        rows = self._run(
            "SELECT association_id FROM association WHERE ending IS NOT NULL"
            " ORDER BY closed_position LIMIT ?",
            (limit,),
        )
        return [str(row[0]) for row in rows]

    def has_full_page(self, association_id: str, entries_max: int, age_max: timedelta) -> bool:
        """Whether `next_page` may be full by now, told without making it."""
        first, last = "ORDER BY position LIMIT 1", "ORDER BY position DESC LIMIT 1"
        row = self._run(
            "SELECT"
            f" (SELECT answered_at FROM receipt WHERE association_id = :id {first}),"
            f" (SELECT answered_at FROM receipt WHERE association_id = :id {last}),"
            f" (SELECT 1 FROM receipt WHERE association_id = :id {first} OFFSET :entries_max)",
            {"id": association_id, "entries_max": entries_max},
        ).fetchone()
        if row[0] is None:
            return False
        return row[2] is not None or row[1] - row[0] >= age_max // timedelta(microseconds=1)

    def next_page(
        self, association_id: str, entries_max: int, age_max: timedelta
    ) -> PendingPage | None:
        """The receipts that the association's next page would have now; None for none at all.

        A page ends before the receipt that is `age_max` younger than its first one, and after
        `entries_max`: rules that a repeated reading of the spool finds again.
        """
        row = self._run(
            "SELECT calling_ae_title, called_ae_title, peer_address, opened_at, next_page, ending,"
            " totals FROM association WHERE association_id = ?",
            (association_id,),
        ).fetchone()
        rows = self._run(
            "SELECT position, delivery_id, sop_instance_uid, content_sha256, status, answered_at"
            " FROM receipt WHERE association_id = ? ORDER BY position LIMIT ?",
            (association_id, entries_max + 1),
        ).fetchall()
        if row is None or (not rows and row["ending"] is None):
            return None
        taken = _page_rows(rows, entries_max, age_max)
        is_full = len(taken) < len(rows)
        is_last = row["ending"] is not None and not is_full
        return PendingPage(
            AssociationFacts(association_id, row[0], row[1], row[2], moment(row["opened_at"])),
            int(row["next_page"]),
            tuple(ReceiptEntry(r[1], r[2], r[3], int(r[4]), moment(r[5])) for r in taken),
            int(taken[-1][0]) if taken else 0,
            is_full or is_last,
            str(row["ending"]) if is_last else None,
            _totals(row["totals"]) if is_last else (),
        )

    def page_published(self, page: PendingPage) -> None:
        """The page is acknowledged: its receipts go, and after the last one the association."""
        association_id = page.facts.association_id
        self._run(
            "DELETE FROM receipt WHERE association_id = ? AND position <= ?",
            (association_id, page.last_position),
        )
        if page.ended is None:
            self._run(
                "UPDATE association SET next_page = ? WHERE association_id = ?",
                (page.page_index + 1, association_id),
            )
        else:
            self._known.discard(association_id)
            self._run("DELETE FROM association WHERE association_id = ?", (association_id,))

    def unpublished(self) -> int:
        """Receipts not acknowledged by the bus, those still to come from the receiver included.

        A delivery is flushed before it is answered and its receipt after: one whose receipt has
        not been seen counts as well, or an answer given a moment ago would be overlooked.
        """
        row = self._run(
            "SELECT (SELECT count(*) FROM receipt)"
            " + (SELECT count(*) FROM delivery WHERE has_receipt = 0)"
        ).fetchone()
        return int(row[0])

    def oldest_unpublished_at(self) -> datetime | None:
        """When the first receipt that `unpublished` counts was answered, or its delivery taken."""
        row = self._run(
            "SELECT min(at) FROM (SELECT min(answered_at) AS at FROM receipt"
            " UNION ALL SELECT min(received_at) FROM delivery WHERE has_receipt = 0)"
        ).fetchone()
        return None if row[0] is None else moment(row[0])

    def has_receipts_in(self, segment: int) -> bool:
        """Whether a receipt in this segment is not yet published."""
        row = self._run("SELECT 1 FROM receipt WHERE segment = ? LIMIT 1", (segment,)).fetchone()
        return row is not None

    def has_ends_in(self, segment: int) -> bool:
        """Whether an association was opened or closed in it whose last page is to come."""
        row = self._run(
            "SELECT 1 FROM association WHERE opened_segment = ? UNION ALL"
            " SELECT 1 FROM association WHERE closed_segment = ? LIMIT 1",
            (segment, segment),
        ).fetchone()
        return row is not None


def _page_rows(rows: list[sqlite3.Row], entries_max: int, age_max: timedelta) -> list[sqlite3.Row]:
    if not rows:
        return []
    end = int(rows[0]["answered_at"]) + age_max // timedelta(microseconds=1)
    taken: list[sqlite3.Row] = []
    for row in rows[:entries_max]:
        if int(row["answered_at"]) >= end:
            break
        taken.append(row)
    return taken


def _totals(text: str) -> tuple[StatusTotal, ...]:
    return tuple(StatusTotal(int(status), int(count)) for status, count in orjson.loads(text))
