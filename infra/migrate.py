"""Brings one site's ClickHouse database to this version's tables and views.

Invariant: a migration is applied once, in the order of its number, and its text never changes
afterwards; applying all of them again changes nothing. It must not drop or rewrite rows.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

from contracts.failures import FatalError
from infra.clickhouse import ClickHouseDatabase
from infra.settings import ClickHouseSettings

_FILE = re.compile(r"[0-9]{4}_[a-z_]+\.sql")
# A statement ends with a semicolon at a line's end; texts inside statements have none there.
_END = re.compile(r";[ \t]*$", re.MULTILINE)

_LEDGER = """
CREATE TABLE IF NOT EXISTS {database}.migrations
(
    name String,
    sha256 String COMMENT 'of the migration''s text',
    applied_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (name, sha256)
COMMENT 'Which migrations this database has had'
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `infra/migrations`."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the text as it stands in the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self, database: str) -> list[str]:
        """Its statements, comments taken out, for the named database."""
        lines = [line for line in self.text.splitlines() if not line.startswith("--")]
        text = "\n".join(lines).replace("{database}", database)
        return [part.strip() for part in _END.split(text) if part.strip()]


def migrations() -> list[Migration]:
    """All migrations in the order of their numbers."""
    entries = sorted(files("infra.migrations").iterdir(), key=lambda entry: entry.name)
    return [
        Migration(entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8"))
        for entry in entries
        if _FILE.fullmatch(entry.name)
    ]


def migrate(settings: ClickHouseSettings) -> list[str]:
    """Creates the database and applies what it has not had; a line for each change, none if none.

    On return every table and view of this version is there. May be repeated after a failure in
    the middle: each statement can be applied again.

    Raises FatalError (an applied migration has another text, credentials, privileges),
    RetryableError.
    """
    return apply(settings, migrations())


def pending(settings: ClickHouseSettings) -> list[str]:
    """Migrations that a database in use has not had; none where there is no database yet.

    Writers of an earlier version must be stopped before these are applied: what a migration fills
    a table from is not looked at again. Raises RetryableError, FatalError.
    """
    system = ClickHouseDatabase(settings.model_copy(update={"database": "system"}))
    try:
        known = system.query(
            "SELECT name FROM system.tables WHERE database = {database:String}"
            " AND name = 'migrations'",
            {"database": settings.database},
        )
    finally:
        system.close()
    if not known:
        return []
    database = ClickHouseDatabase(settings)
    try:
        applied = _applied(database)
    finally:
        database.close()
    return [migration.name for migration in migrations() if migration.name not in applied]


def apply(settings: ClickHouseSettings, wanted: list[Migration]) -> list[str]:
    """`migrate` with the migrations given."""
    changes = _create_database(settings)
    database = ClickHouseDatabase(settings)
    try:
        database.command(_LEDGER.replace("{database}", settings.database))
        applied = _applied(database)
        for migration in wanted:
            if migration.name not in applied:
                _apply_one(database, migration)
                changes.append(f"clickhouse {settings.database}: applied {migration.name}")
            elif applied[migration.name] != migration.sha256:
                raise FatalError(
                    f"migration {migration.name} was applied to {settings.database} with another"
                    " text",
                    "put the file back and write the change as a migration of its own",
                )
    finally:
        database.close()
    return changes


def _applied(database: ClickHouseDatabase) -> dict[str, str]:
    """The text's hash by the name of each migration that the database has had."""
    rows = database.query("SELECT name, sha256 FROM migrations FINAL")
    return {str(row["name"]): str(row["sha256"]) for row in rows}


def _create_database(settings: ClickHouseSettings) -> list[str]:
    # `system` is in every server, while the database that the settings name may not be yet.
    server = ClickHouseDatabase(settings.model_copy(update={"database": "system"}))
    try:
        found = server.query(
            "SELECT name FROM system.databases WHERE name = {name:String}",
            {"name": settings.database},
        )
        if found:
            return []
        # Without IF NOT EXISTS a second process that does the same at the same time would fail.
        server.command(f"CREATE DATABASE IF NOT EXISTS {settings.database}")
        return [f"clickhouse {settings.database}: created the database"]
    finally:
        server.close()


def _apply_one(database: ClickHouseDatabase, migration: Migration) -> None:
    for statement in migration.statements(database.name):
        database.command(statement)
    database.table("migrations").insert(
        {
            "name": [migration.name],
            "sha256": [migration.sha256],
            "applied_at": [datetime.now(UTC)],
        }
    )
