"""The table of commitment requests, and opening it for a process.

Invariant: opened by either process first, it is the same file with the same rules: every commit is
flushed. A file that is damaged is set aside by the forwarder alone, of which there is one.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from infra.telemetry import logger

LEDGER_NAME = "commitment.sqlite"
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0
_LOG = logger("commitment")

_TABLES = f"""
CREATE TABLE request (
    request_id INTEGER PRIMARY KEY,
    ae_title TEXT NOT NULL,
    transaction_uid TEXT NOT NULL,
    digest TEXT NOT NULL,
    is_duplicate INTEGER NOT NULL,
    sop_references BLOB,
    failures BLOB,
    asked_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    decided_at INTEGER,
    ended_at INTEGER,
    tries INTEGER NOT NULL DEFAULT 0,
    next_try_at INTEGER NOT NULL DEFAULT 0,
    problem TEXT,
    UNIQUE (ae_title, transaction_uid, digest)
);
CREATE INDEX request_open ON request (request_id) WHERE state = 'open';
CREATE INDEX request_reporting ON request (next_try_at) WHERE state = 'reporting';
CREATE INDEX request_ended ON request (ended_at) WHERE ended_at IS NOT NULL;
PRAGMA user_version = {SCHEMA_VERSION};
"""


def open_ledger(path: Path) -> sqlite3.Connection:
    """The ledger at `path`, made where there is none. Raises sqlite3.Error, OSError.

    Transactions begin and end by name (no implicit ones), and a commit is flushed.
    """
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if _version(connection) != SCHEMA_VERSION:
            _create(connection, path)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def set_aside_if_damaged(path: Path) -> None:
    """On return the ledger is sound, or it stands beside under another name.

    What is lost then are requests that were taken: their peers get no report, keep their
    instances and ask again. Raises OSError, sqlite3.OperationalError (disk, lock).
    """
    if not path.exists():
        return
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
    try:
        is_sound = connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
        is_sound &= _version(connection) in (0, SCHEMA_VERSION)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        is_sound = False
    finally:
        connection.close()
    if is_sound:
        return
    _LOG.error("commitment ledger set aside: requests in it get no report")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(f"{path.stem}.damaged{suffix}"))


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        # The other process may have been quicker.
        if _version(connection) == 0:
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
