"""The forwarder's ledger: where each delivery is on its way from the spool into the archive.

Invariant: a state here never claims more than was acknowledged; what a kill takes away (the last
batch) only makes work be repeated. `commit_durably` stands before every irreversible step. One
thread only. Must not read the spool or speak to the bus.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from contracts.events import StateTotal
from edge_gateway.progress_rows import (
    COLUMNS,
    DeliveryState,
    LedgerEntry,
    NewDelivery,
    SegmentRest,
    entry_of,
    location_text,
    microseconds,
    moment,
)
from edge_gateway.progress_schema import open_ledger
from edge_gateway.spool import RecordLocation

# A kill repeats at most what one batch took in; below it the flush of SQLite dominates.
BATCH_AGE_S = 0.1


class Progress:
    """Deliveries and named notes in SQLite, changed in batches."""

    def __init__(self, path: Path, gateway_id: str) -> None:
        self.connection = open_ledger(path, gateway_id)
        self._run = self.connection.execute
        # Both rise with what they speak of, so that nobody has to ask the tables in vain:
        # deliveries that may have become spooled, and spooled ones that may be so no more.
        self.spooled_changes = 0
        self.other_changes = 0
        self._window_bytes: int | None = None

    # -- batches

    def commit(self) -> None:
        """The batch so far survives a kill of this process (not yet a power loss)."""
        self.connection.commit()

    def commit_durably(self) -> None:
        """On return everything so far survives a power loss: the log is folded back, flushed."""
        self.connection.commit()
        self._run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Commits and closes."""
        self.connection.commit()
        self.connection.close()

    def note(self, name: str) -> str | None:
        """A remembered value, such as an offset."""
        row = self._run("SELECT value FROM note WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_note(self, name: str, value: str) -> None:
        """Remembers a value, in the same batch as what it belongs to."""
        self._run("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))

    # -- the way forward

    def add(self, new: NewDelivery) -> None:
        """Takes in a delivery as spooled. One that is known already keeps its state.

        A known one whose bytes were not found before (`lost`) is spooled again.
        """
        self._run(
            "INSERT INTO delivery (delivery_id, sequence, association_id, segment, location, facts,"
            " sop_class_uid, sop_instance_uid, content_sha256, size_bytes, received_at,"
            " has_receipt, priority, calling_ae_title, state)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'spooled')"
            " ON CONFLICT (delivery_id) DO UPDATE SET segment = excluded.segment,"
            " location = excluded.location, facts = excluded.facts,"
            " state = CASE state WHEN 'lost' THEN 'spooled' ELSE state END",
            new.values(),
        )
        self.spooled_changes += 1

    def next_spooled(
        self, limit: int, now: datetime, without: Collection[str]
    ) -> list[LedgerEntry]:
        """The first spooled deliveries in order of acceptance, those set aside or in hand not."""
        rows = self._run(
            f"SELECT {COLUMNS} FROM delivery WHERE state = 'spooled' AND retry_not_before <= ?"
            " ORDER BY sequence LIMIT ?",
            (microseconds(now), limit + len(without)),
        )
        found = [row for row in rows if row[0] not in without]
        return [entry_of(row) for row in found[:limit]]

    def find(self, delivery_id: str) -> LedgerEntry | None:
        """The row of a delivery, or None."""
        row = self._run(
            f"SELECT {COLUMNS} FROM delivery WHERE delivery_id = ?", (delivery_id,)
        ).fetchone()
        return None if row is None else entry_of(row)

    def publish(self, landed: Iterable[tuple[str, datetime]], published_to: str) -> None:
        """Each (delivery_id, at): spooled → published; nothing where custody was quicker."""
        self._window_bytes = None
        self.connection.executemany(
            "UPDATE delivery SET state = 'published', published_at = ?, published_to = ?,"
            " problem = NULL WHERE delivery_id = ? AND state = 'spooled'",
            [(microseconds(at), published_to, delivery_id) for delivery_id, at in landed],
        )

    def resolve(
        self, delivery_id: str, state: DeliveryState, archived_at: datetime, now: datetime
    ) -> None:
        """To archived or quarantined; `now` begins the hold time. A purged one stays purged."""
        self._note_change()
        self._run(
            "UPDATE delivery SET state = ?, archived_at = ?, resolved_at = ?, problem = NULL"
            " WHERE delivery_id = ? AND state NOT IN ('purged', 'archived', 'quarantined')",
            (
                state.value,
                # What lies in quarantine was never archived under its identity.
                microseconds(archived_at) if state is DeliveryState.ARCHIVED else None,
                microseconds(now),
                delivery_id,
            ),
        )

    def refuse(self, delivery_id: str) -> None:
        """Spooled or published → refused: kept, outside the window."""
        self._note_change()
        self._run(
            "UPDATE delivery SET state = 'refused' WHERE delivery_id = ?"
            " AND state IN ('spooled', 'published')",
            (delivery_id,),
        )

    def replicate(self, delivery_id: str, at: datetime) -> None:
        """Notes that the second site has it."""
        self._run(
            "UPDATE delivery SET replicated_at = ? WHERE delivery_id = ?",
            (microseconds(at), delivery_id),
        )

    def set_aside(self, delivery_id: str, until: datetime, problem: str) -> None:
        """Lets the others pass; it is tried again after `until`."""
        self._note_change()
        self._run(
            "UPDATE delivery SET retry_not_before = ?, problem = ? WHERE delivery_id = ?",
            (microseconds(until), problem, delivery_id),
        )

    def lose(self, delivery_id: str, problem: str) -> None:
        """The spool does not hold its bytes any more although nobody archived it."""
        self._note_change()
        self._run(
            "UPDATE delivery SET state = 'lost', problem = ? WHERE delivery_id = ?",
            (problem, delivery_id),
        )

    # -- the way back

    def spool_again(self, delivery_id: str) -> bool:
        """Any state whose bytes are still here → spooled. False: purged, lost or unknown."""
        self._note_change()
        cursor = self._run(
            "UPDATE delivery SET state = 'spooled', retry_not_before = 0 WHERE delivery_id = ?"
            " AND state NOT IN ('purged', 'lost')",
            (delivery_id,),
        )
        return cursor.rowcount > 0

    def spool_again_unless_at(self, published_to: str) -> int:
        """Published to other logs than those that exist now → spooled; how many."""
        self._note_change()
        return self._run(
            "UPDATE delivery SET state = 'spooled' WHERE state = 'published'"
            " AND published_to IS NOT ?",
            (published_to,),
        ).rowcount

    def spool_again_published_before(self, before: datetime) -> int:
        """Published so long ago that its chunks may expire unread → spooled; how many."""
        self._note_change()
        return self._run(
            "UPDATE delivery SET state = 'spooled' WHERE state = 'published' AND published_at < ?",
            (microseconds(before),),
        ).rowcount

    # -- the end

    def resolved_before(self, before: datetime, limit: int) -> list[LedgerEntry]:
        """Archived or quarantined deliveries whose hold time began before `before`."""
        rows = self._run(
            f"SELECT {COLUMNS} FROM delivery WHERE state IN ('archived', 'quarantined')"
            " AND resolved_at < ? ORDER BY resolved_at LIMIT ?",
            (microseconds(before), limit),
        )
        return [entry_of(row) for row in rows]

    def oldest_resolved(self, limit: int) -> list[LedgerEntry]:
        """Archived or quarantined deliveries, oldest accepted first."""
        rows = self._run(
            f"SELECT {COLUMNS} FROM delivery WHERE state IN ('archived', 'quarantined')"
            " ORDER BY sequence LIMIT ?",
            (limit,),
        )
        return [entry_of(row) for row in rows]

    def purge(self, delivery_ids: Iterable[str], now: datetime) -> None:
        """Any state → purged; the caller removes the bytes after `commit_durably`."""
        self._note_change()
        self.connection.executemany(
            "UPDATE delivery SET state = 'purged', problem = NULL,"
            " resolved_at = coalesce(resolved_at, ?) WHERE delivery_id = ?",
            [(microseconds(now), delivery_id) for delivery_id in delivery_ids],
        )

    def forget_purged(self, kept: timedelta, now: datetime, limit: int) -> int:
        """Drops rows of deliveries resolved longer ago than `kept`; how many."""
        return self._run(
            "DELETE FROM delivery WHERE rowid IN (SELECT rowid FROM delivery"
            " WHERE state = 'purged' AND resolved_at < ? LIMIT ?)",
            (microseconds(now - kept), limit),
        ).rowcount

    def live_in(self, segment: int, limit: int) -> list[LedgerEntry]:
        """Deliveries of a segment that are not purged, `limit` at most."""
        rows = self._run(
            f"SELECT {COLUMNS} FROM delivery WHERE segment = ?"
            " AND state NOT IN ('purged', 'lost') ORDER BY sequence LIMIT ?",
            (segment, limit),
        )
        return [entry_of(row) for row in rows]

    def has_live_in(self, segment: int) -> bool:
        """Whether a segment holds a delivery that is not purged."""
        row = self._run(
            "SELECT 1 FROM delivery WHERE segment = ? AND state NOT IN ('purged', 'lost') LIMIT 1",
            (segment,),
        ).fetchone()
        return row is not None

    def rest_of(self, segment: int, limit: int) -> SegmentRest:
        """What of a segment is not purged, counted up to `limit` deliveries."""
        row = self._run(
            "SELECT count(*), coalesce(sum(size_bytes), 0), coalesce(max(received_at), 0) FROM"
            " (SELECT size_bytes, received_at FROM delivery WHERE segment = ?"
            " AND state NOT IN ('purged', 'lost') LIMIT ?)",
            (segment, limit),
        ).fetchone()
        return SegmentRest(int(row[0]), int(row[1]), moment(int(row[2])))

    def move(self, delivery_id: str, location: RecordLocation, facts: bytes) -> None:
        """It was copied forward out of its segment."""
        self._note_change()
        self._run(
            "UPDATE delivery SET segment = NULL, location = ?, facts = ? WHERE delivery_id = ?",
            (location_text(location), facts, delivery_id),
        )

    # -- what there is

    def totals(self) -> tuple[StateTotal, ...]:
        """Deliveries and bytes by state, every state named."""
        rows = self._run("SELECT state, deliveries, size_bytes FROM total ORDER BY state")
        return tuple(StateTotal(str(row[0]), int(row[1]), int(row[2])) for row in rows)

    def window_bytes(self) -> int:
        """Bytes published and not yet resolved by custody."""
        if self._window_bytes is None:
            row = self._run("SELECT size_bytes FROM total WHERE state = 'published'").fetchone()
            self._window_bytes = int(row[0])
        return self._window_bytes

    def oldest_unarchived_at(self) -> datetime | None:
        """When the oldest delivery that is spooled or published was received."""
        row = self._run(
            "SELECT min(received_at) FROM delivery WHERE state IN ('spooled', 'published')"
        ).fetchone()
        return None if row[0] is None else moment(int(row[0]))

    def problems(self, limit: int) -> Sequence[tuple[str, str]]:
        """(delivery_id, problem) of what was set aside or lost."""
        rows = self._run(
            "SELECT delivery_id, problem FROM delivery WHERE problem IS NOT NULL"
            " ORDER BY sequence LIMIT ?",
            (limit,),
        )
        return [(str(row[0]), str(row[1])) for row in rows]

    def _note_change(self) -> None:
        self.spooled_changes += 1
        self.other_changes += 1
        self._window_bytes = None
