"""A migrated ClickHouse database of a test's own, and what its views tell."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from consumers.index_writer import IndexWriter
from contracts.events import (
    AssociationReceipt,
    Event,
    InstanceReceived,
    PackArchived,
    PackReplicated,
)
from infra.clickhouse import ClickHouseDatabase
from infra.clock import SystemClock
from infra.migrate import migrate
from infra.seams import Database
from infra.settings import Settings
from tests.engines import isolated_settings

VIEWS = {
    "instances": "study_instance_uid, sop_instance_uid, content_sha256",
    "series": "study_instance_uid, series_instance_uid",
    "studies": "study_instance_uid",
    "patients": "patient_id, issuer_of_patient_id",
    "deliveries": "delivery_id",
    "quarantine": "delivery_id",
    "conflicts": "sop_instance_uid",
    "receipts": "association_id, page_index, entry_index",
    "associations": "association_id",
}


@pytest.fixture(scope="session")
def databases(engines: Settings) -> Iterator[Settings]:
    """Engines with migrated databases at both sites, for tests that empty them and go one by one.

    Migrating a pair of them takes longer than most tests (2 to 7 s on two busy cores).
    """
    name = f"hilum_{uuid.uuid4().hex[:12]}"
    own = _with_databases(engines, name, name)
    for site in (own.primary, own.dr):
        migrate(site.clickhouse)
    yield own
    for site in (own.primary, own.dr):
        dropped = ClickHouseDatabase(site.clickhouse)
        dropped.command(f"DROP DATABASE {name} SYNC")
        dropped.close()


def isolated_in(databases: Settings, directory: Path) -> Settings:
    """`isolated_settings` but for the databases, which are those of `databases`, empty now."""
    primary, dr = databases.primary.clickhouse, databases.dr.clickhouse
    for clickhouse in (primary, dr):
        emptied = ClickHouseDatabase(clickhouse)
        empty_all(emptied)
        emptied.close()
    own = isolated_settings(databases, directory)
    return _with_databases(own, primary.database, dr.database)


def _with_databases(settings: Settings, primary: str, dr: str) -> Settings:
    sites = {}
    for name, database in (("primary", primary), ("dr", dr)):
        site = getattr(settings, name)
        clickhouse = site.clickhouse.model_copy(update={"database": database})
        sites[name] = site.model_copy(update={"clickhouse": clickhouse})
    return settings.model_copy(update=sites)


@pytest.fixture
def index_settings(databases: Settings, tmp_path: Path) -> Settings:
    """Empty databases; unlike `engine_settings` it asks nothing of Kafka."""
    return isolated_in(databases, tmp_path)


@pytest.fixture
def database(index_settings: Settings) -> Iterator[ClickHouseDatabase]:
    """An empty index."""
    connected = ClickHouseDatabase(index_settings.primary.clickhouse)
    yield connected
    connected.close()


def write(database: ClickHouseDatabase, *events: Event) -> None:
    """One batch of the index writer."""

    def of(kind: type[Event]) -> list[Any]:
        return [event for event in events if isinstance(event, kind)]

    with closing(IndexWriter(database, SystemClock())) as writer:
        writer.write(
            received=of(InstanceReceived),
            archived=of(PackArchived),
            replicated=of(PackReplicated),
            receipts=of(AssociationReceipt),
        )


def rows(database: ClickHouseDatabase, view: str, **where: str) -> list[dict[str, Any]]:
    """A view's rows in the order of its keys, those with the given column values."""
    condition = " AND ".join(f"{name} = {{{name}:String}}" for name in where) or "1"
    sql = f"SELECT * FROM {view} WHERE {condition} ORDER BY {VIEWS[view]}"
    return database.query(sql, where)


def everything(database: ClickHouseDatabase) -> dict[str, list[dict[str, Any]]]:
    """All views, without the column that tells when the index was written."""
    told = {view: rows(database, view) for view in VIEWS}
    for row in told["deliveries"]:
        row["indexed_at"] = row["indexed_at"] is not None
    return told


def empty_all(database: Database) -> None:
    """Takes every row out of every table."""
    tables = database.query(
        "SELECT name FROM system.tables WHERE database = {name:String} AND engine LIKE '%MergeTree'"
        " AND name != 'migrations' AND coalesce(total_rows, 1) != 0",
        {"name": database.name},
    )
    for table in tables:
        database.command(f"TRUNCATE TABLE {table['name']}")


def differences(
    told: dict[str, list[dict[str, Any]]], truth: dict[str, list[dict[str, Any]]]
) -> list[str]:
    """Where two answers of `everything` differ, a line for each column."""
    found = []
    for view, expected in truth.items():
        if len(told[view]) != len(expected):
            found.append(f"{view}: {len(told[view])} rows, not {len(expected)}")
        for row, other in zip(told[view], expected, strict=False):
            found += [
                f"{view}.{name}: {row[name]!r}, not {other[name]!r}"
                for name in other
                if row[name] != other[name]
            ]
    return found
