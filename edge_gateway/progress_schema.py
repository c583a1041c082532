"""The tables of the forwarder's progress ledger, and opening them.

Invariant: the spool is the truth; a ledger that is damaged, of another version or of another
gateway is set aside and a new one is filled from the segments. Must not judge a delivery.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge_gateway.progress_rows import DeliveryState
from infra.settings_forwarding import PRIORITY_USUAL
from infra.telemetry import logger

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0
# Pages of 4 KiB that the write-ahead log may grow to before it is folded back.
CHECKPOINT_PAGES = 4_000
_LOG = logger("progress")
# What ledgers of former times lack.
_LATER_COLUMNS = {
    "priority": f"INTEGER NOT NULL DEFAULT {PRIORITY_USUAL}",
    "calling_ae_title": "TEXT NOT NULL DEFAULT ''",
}


# `sequence` is the order of acceptance: microseconds of the time, or the spool's own in rows of
# former versions, which are older and smaller. `segment` is NULL and `facts` the record's own JSON
# once the entry was copied forward. Totals are kept by triggers, so that no transition can
# forget to count.
_TABLES = f"""
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE delivery (
    delivery_id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    association_id TEXT NOT NULL,
    segment INTEGER,
    location TEXT NOT NULL,
    facts BLOB,
    sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    content_sha256 TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    has_receipt INTEGER NOT NULL DEFAULT 0,
    published_at INTEGER,
    published_to TEXT,
    archived_at INTEGER,
    replicated_at INTEGER,
    resolved_at INTEGER,
    retry_not_before INTEGER NOT NULL DEFAULT 0,
    problem TEXT,
    {", ".join(f"{name} {rest}" for name, rest in _LATER_COLUMNS.items())}
);
CREATE INDEX delivery_spooled ON delivery (sequence) WHERE state = 'spooled';
CREATE INDEX delivery_published ON delivery (published_at) WHERE state = 'published';
CREATE INDEX delivery_resolved ON delivery (resolved_at)
    WHERE state IN ('archived', 'quarantined');
CREATE INDEX delivery_resolved_sequence ON delivery (sequence)
    WHERE state IN ('archived', 'quarantined');
CREATE INDEX delivery_unarchived ON delivery (received_at)
    WHERE state IN ('spooled', 'published');
CREATE INDEX delivery_live ON delivery (segment) WHERE state NOT IN ('purged', 'lost');
CREATE INDEX delivery_purged ON delivery (resolved_at) WHERE state = 'purged';
CREATE INDEX delivery_unanswered ON delivery (association_id) WHERE has_receipt = 0;
CREATE INDEX delivery_problem ON delivery (sequence) WHERE problem IS NOT NULL;

CREATE TABLE total (
    state TEXT PRIMARY KEY, deliveries INTEGER NOT NULL, size_bytes INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO total VALUES {", ".join(f"('{state.value}', 0, 0)" for state in DeliveryState)};
CREATE TRIGGER delivery_added AFTER INSERT ON delivery BEGIN
    UPDATE total SET deliveries = deliveries + 1, size_bytes = size_bytes + new.size_bytes
        WHERE state = new.state;
END;
CREATE TRIGGER delivery_removed AFTER DELETE ON delivery BEGIN
    UPDATE total SET deliveries = deliveries - 1, size_bytes = size_bytes - old.size_bytes
        WHERE state = old.state;
END;
CREATE TRIGGER delivery_moved AFTER UPDATE OF state ON delivery
WHEN old.state <> new.state BEGIN
    UPDATE total SET deliveries = deliveries - 1, size_bytes = size_bytes - old.size_bytes
        WHERE state = old.state;
    UPDATE total SET deliveries = deliveries + 1, size_bytes = size_bytes + new.size_bytes
        WHERE state = new.state;
END;

CREATE TABLE association (
    association_id TEXT PRIMARY KEY,
    calling_ae_title TEXT NOT NULL,
    called_ae_title TEXT NOT NULL,
    peer_address TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    opened_segment INTEGER,
    closed_segment INTEGER,
    closed_position INTEGER,
    ending TEXT,
    totals TEXT NOT NULL DEFAULT '[]',
    next_page INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX association_closed ON association (closed_position) WHERE ending IS NOT NULL;
CREATE INDEX association_open ON association (association_id) WHERE ending IS NULL;
CREATE INDEX association_segments ON association (opened_segment);
CREATE INDEX association_closed_segments ON association (closed_segment);

CREATE TABLE receipt (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    association_id TEXT NOT NULL,
    segment INTEGER NOT NULL,
    delivery_id TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    content_sha256 TEXT NOT NULL,
    status INTEGER NOT NULL,
    answered_at INTEGER NOT NULL
);
CREATE INDEX receipt_association ON receipt (association_id, position);
CREATE INDEX receipt_segment ON receipt (segment);
"""


def open_ledger(path: Path, gateway_id: str) -> sqlite3.Connection:
    """The ledger at `path`, ready: an old one that is sound and this gateway's, or an empty one.

    Raises OSError or sqlite3.Error where the disk refuses.
    """
    connection = _connect(path)
    problem = _problem(connection, gateway_id)
    if problem == "empty":
        return _created(connection, gateway_id)
    if not problem:
        _complete(connection)
        return connection
    connection.close()
    aside = path.with_suffix(f".{problem}")
    _LOG.error("ledger set aside, filling a new one from the spool", problem=problem)
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return _created(_connect(path), gateway_id)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
    connection.row_factory = sqlite3.Row
    return connection


def _problem(connection: sqlite3.Connection, gateway_id: str) -> str:
    """'' for a sound ledger of this gateway, else one word that says what is wrong."""
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return "empty"
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            return "damaged"
        if version != SCHEMA_VERSION:
            return "other-version"
        row = connection.execute("SELECT value FROM note WHERE name = 'gateway_id'").fetchone()
    except sqlite3.OperationalError:
        raise  # the disk or a lock, not the file's contents
    except sqlite3.DatabaseError:
        return "damaged"
    return "" if row is not None and row[0] == gateway_id else "other-gateway"


def _complete(connection: sqlite3.Connection) -> None:
    """Adds the columns that ledgers of former times lack; they stay readable for both."""
    columns = {row["name"] for row in connection.execute("PRAGMA table_info(delivery)")}
    for name, rest in _LATER_COLUMNS.items():
        if name not in columns:
            connection.execute(f"ALTER TABLE delivery ADD COLUMN {name} {rest}")


def _created(connection: sqlite3.Connection, gateway_id: str) -> sqlite3.Connection:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    # One transaction: a crash in between leaves an empty file, which is filled again.
    connection.executescript(
        f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA_VERSION};"
        f" INSERT INTO note VALUES ('gateway_id', '{gateway_id}'); COMMIT;"
    )
    return connection
