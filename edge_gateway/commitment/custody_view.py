"""What custody says of requested instances, out of the forwarder's progress ledger.

Invariant: reads only; what it tells is what the ledger holds at this moment, every delivery of an
instance included. Used by the thread that owns the ledger.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

from edge_gateway.progress_rows import DeliveryState

# SQLite's own limit of variables in a statement is far above it.
UIDS_PER_QUESTION_MAX = 500


@dataclass(frozen=True, slots=True)
class Holding:
    """One delivery of an instance. Its bytes may have left the spool long ago."""

    sop_class_uid: str
    content_sha256: str
    state: DeliveryState
    is_archived: bool
    is_replicated: bool


class CustodyView:
    """Asks the table `delivery` by SOP Instance UID."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        # Here and not among the tables: only a gateway that serves commitment pays for it.
        self._run("CREATE INDEX IF NOT EXISTS delivery_instance ON delivery (sop_instance_uid)")

    def holdings(self, sop_instance_uids: Collection[str]) -> dict[str, list[Holding]]:
        """Every delivery of each instance, UIDS_PER_QUESTION_MAX instances at most."""
        assert len(sop_instance_uids) <= UIDS_PER_QUESTION_MAX
        places = ", ".join("?" * len(sop_instance_uids))
        rows = self._run(
            "SELECT sop_instance_uid, sop_class_uid, content_sha256, state,"
            " archived_at IS NOT NULL, replicated_at IS NOT NULL FROM delivery"
            f" WHERE sop_instance_uid IN ({places})",
            tuple(sop_instance_uids),
        )
        found: dict[str, list[Holding]] = {}
        for uid, sop_class_uid, sha256, state, is_archived, is_replicated in rows:
            holding = Holding(
                sop_class_uid, sha256, DeliveryState(state), bool(is_archived), bool(is_replicated)
            )
            found.setdefault(uid, []).append(holding)
        return found
