"""Tells the receive process what of each calling AE title is not archived; part of the main loop.

Invariant: what is told is the ledger's count at the place that the ledger has been read up to, and
that place never goes back. Must not change the ledger's own tables.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge_gateway.progress_rows import DeliveryState
from edge_gateway.spool import SpoolPosition
from edge_gateway.unarchived import FILE_NAME, Unarchived, read_unarchived, write_unarchived
from infra.clock import Clock
from infra.telemetry import logger

STEP_INTERVAL_S = 0.5
# What the archive refused is still here, and here alone.
_STATES = ", ".join(
    f"'{state.value}'"
    for state in (DeliveryState.SPOOLED, DeliveryState.PUBLISHED, DeliveryState.REFUSED)
)
_LOG = logger("quotas")

# Kept by triggers as the ledger's totals are, but of this connection alone: a gateway without
# quotas pays for none of it. One sum over a long backlog takes longer than a step may.
_COUNTING = f"""
PRAGMA temp_store = MEMORY;
UPDATE delivery SET calling_ae_title = coalesce((SELECT a.calling_ae_title FROM association a
    WHERE a.association_id = delivery.association_id), '')
    WHERE calling_ae_title = '' AND state IN ({_STATES});
CREATE TEMP TABLE unarchived (title TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO unarchived SELECT calling_ae_title, sum(size_bytes) FROM delivery
    WHERE state IN ({_STATES}) GROUP BY calling_ae_title;
CREATE TEMP TRIGGER unarchived_added AFTER INSERT ON main.delivery
WHEN new.state IN ({_STATES}) BEGIN
    INSERT OR IGNORE INTO unarchived VALUES (new.calling_ae_title, 0);
    UPDATE unarchived SET size_bytes = size_bytes + new.size_bytes
        WHERE title = new.calling_ae_title;
END;
CREATE TEMP TRIGGER unarchived_gone AFTER UPDATE OF state ON main.delivery
WHEN old.state IN ({_STATES}) AND new.state NOT IN ({_STATES}) BEGIN
    UPDATE unarchived SET size_bytes = size_bytes - old.size_bytes
        WHERE title = old.calling_ae_title;
END;
CREATE TEMP TRIGGER unarchived_again AFTER UPDATE OF state ON main.delivery
WHEN old.state NOT IN ({_STATES}) AND new.state IN ({_STATES}) BEGIN
    INSERT OR IGNORE INTO unarchived VALUES (new.calling_ae_title, 0);
    UPDATE unarchived SET size_bytes = size_bytes + new.size_bytes
        WHERE title = new.calling_ae_title;
END;
"""


class QuotaDesk:
    """Counts in the ledger's connection, and writes beside it. Used by one thread."""

    def __init__(
        self, connection: sqlite3.Connection, directory: Path, gateway_id: str, clock: Clock
    ) -> None:
        self._connection = connection
        self._directory = directory
        self._gateway_id = gateway_id
        self._clock = clock
        self._stepped_at: float | None = None
        self._told = read_unarchived(directory, gateway_id)
        connection.executescript(_COUNTING)

    def step(self, read_up_to: SpoolPosition) -> None:
        """Every STEP_INTERVAL_S; `read_up_to` is the place behind what the ledger holds."""
        now = self._clock.monotonic()
        if self._stepped_at is not None and now - self._stepped_at < STEP_INTERVAL_S:
            return
        self._stepped_at = now
        # A start after a kill, or with a fresh ledger, reads what the last word knew already.
        if read_up_to < self._told.read_up_to:
            return
        self._connection.execute("DELETE FROM unarchived WHERE size_bytes = 0")
        sizes = dict(self._connection.execute("SELECT title, size_bytes FROM unarchived"))
        unarchived = Unarchived(read_up_to, sizes)
        if unarchived == self._told and (self._directory / FILE_NAME).exists():
            return
        try:
            write_unarchived(self._directory, self._gateway_id, unarchived)
        except OSError as cause:
            # A full disk: the forwarder is the one that makes room, and goes on.
            _LOG.warning("telling what is not archived failed", reason=str(cause))
            return
        self._told = unarchived
