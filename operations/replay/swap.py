"""Puts a finished shadow in the place of the index in use, table by table.

Invariant: each table is exchanged atomically and once: the journal names the tables by the ids
that the engine gave them, so whoever repeats a swap that was cut off sees which are done. What
was in use is kept. The index's writer must not run meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.partitions import Partition
from operations.replay.kinds import Kind
from operations.replay.shadow import BEFORE, Shadow

CARRIED_ROWS_MAX = 500_000  # by one statement
_JOURNAL = """
CREATE TABLE IF NOT EXISTS swap_journal
(
    table_name String,
    live_id UUID COMMENT 'of the table that was in use when the swap began',
    kept_as String COMMENT 'database that keeps it',
    topic String COMMENT 'where a group goes on after the swap, else empty',
    number Int32,
    next_offset Int64
)
ENGINE = MergeTree
ORDER BY (table_name, topic, number)
COMMENT 'A swap that has begun; it goes with the shadow'
"""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Journal:
    """A swap that has begun: its tables with the ids they had, and where the group goes on."""

    kept_as: str
    live_ids: Mapping[str, str]
    offsets: Mapping[Partition, int]


def read_journal(shadow: Shadow) -> Journal | None:
    """The swap that has begun, or None."""
    known = shadow.server.query(
        "SELECT 1 FROM system.tables WHERE database = {name:String} AND name = 'swap_journal'",
        {"name": shadow.name},
    )
    rows = shadow.database.query("SELECT * FROM swap_journal") if known else []
    if not rows:
        return None
    return Journal(
        str(rows[0]["kept_as"]),
        {str(r["table_name"]): str(r["live_id"]) for r in rows if r["table_name"]},
        {
            Partition(str(r["topic"]), int(str(r["number"]))): int(str(r["next_offset"]))
            for r in rows
            if r["topic"]
        },
    )


def begin(shadow: Shadow, kind: Kind, offsets: Mapping[Partition, int], tell: Tell) -> Journal:
    """Hands on what only the index in use knows, then writes the journal; on return it stands.

    `offsets` are those from which the index's consumer goes on. Raises RetryableError, FatalError.
    """
    tell("handing on what only the index in use knows")
    _carry_over(shadow, kind)
    ids = _ids(shadow, shadow.live_name)
    kept_as = f"{shadow.live_name}{BEFORE}{datetime.now(UTC):%Y%m%d_%H%M%S}"
    shadow.database.command(_JOURNAL)
    tables = [(name, ids[name], "", 0, 0) for name in kind.tables]
    places = [("", _NO_ID, at.topic, at.number, offset) for at, offset in offsets.items()]
    rows = [*tables, *places]
    # One insert is one part: the journal is there whole or not at all.
    shadow.database.table("swap_journal").insert(
        {
            "table_name": [row[0] for row in rows],
            "live_id": [row[1] for row in rows],
            "kept_as": [kept_as] * len(rows),
            "topic": [row[2] for row in rows],
            "number": [row[3] for row in rows],
            "next_offset": [row[4] for row in rows],
        }
    )
    return Journal(kept_as, {name: ids[name] for name in kind.tables}, offsets)


def finish(shadow: Shadow, journal: Journal, tell: Tell) -> None:
    """Exchanges what is not yet exchanged, and moves what was in use to the kept database.

    On return only dropping the shadow is left. May be repeated at any point. Raises
    RetryableError, FatalError.
    """
    live, server = shadow.live_name, shadow.server
    for name, live_id in journal.live_ids.items():
        if _ids(shadow, live).get(name) == live_id:
            server.command(f"EXCHANGE TABLES {live}.{name} AND {shadow.name}.{name}")
            tell(f"exchanged {name}")
    server.command(f"CREATE DATABASE IF NOT EXISTS {journal.kept_as}")
    for name, live_id in journal.live_ids.items():
        if _ids(shadow, shadow.name).get(name) == live_id:
            server.command(f"RENAME TABLE {shadow.name}.{name} TO {journal.kept_as}.{name}")
            tell(f"kept {name} in {journal.kept_as}")


def _ids(shadow: Shadow, database: str) -> dict[str, str]:
    rows = shadow.server.query(
        "SELECT name, toString(uuid) AS id FROM system.tables WHERE database = {name:String}",
        {"name": database},
    )
    return {str(row["name"]): str(row["id"]) for row in rows}


def _carry_over(shadow: Shadow, kind: Kind) -> None:
    """Columns of deliveries that the source does not know, by the table's own merging.

    Of a delivery that the shadow does not have only where the source cannot know it at all: what
    is in no pack is not rebuilt from packs.
    """
    live, own = f"{shadow.live_name}.delivery_rows", f"{shadow.name}.delivery_rows"
    columns = ", ".join(("delivery_id", *kind.carried))
    known = f"delivery_id IN (SELECT delivery_id FROM {own} WHERE {_PART})"
    statements = [f"INSERT INTO {own} ({columns}) SELECT {columns} FROM {live} FINAL WHERE {known}"]
    if not kind.is_whole:
        statements.append(f"INSERT INTO {own} SELECT * FROM {live} FINAL WHERE area = ''")
    (row,) = shadow.server.query(f"SELECT count() AS rows FROM {live}")
    parts = int(str(row["rows"])) // CARRIED_ROWS_MAX + 1
    for part in range(parts):
        for statement in statements:
            shadow.server.command(f"{statement} AND {_PART}", {"parts": parts, "part": part})


_NO_ID = "00000000-0000-0000-0000-000000000000"
_PART = "cityHash64(delivery_id) % {parts:UInt32} = {part:UInt32}"
