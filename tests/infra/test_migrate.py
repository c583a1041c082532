"""Migrations: applied once, in order, shown, and never changed behind a database's back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consumers.index_compose import compose_instances
from contracts.failures import FatalError, RetryableError
from contracts.identity import ContentKey
from infra.clickhouse import ClickHouseDatabase
from infra.migrate import Migration, apply, migrate, migrations, pending
from infra.settings import ClickHouseSettings, Settings
from tests.engines import isolated_settings

ONE = Migration("0001_one", "CREATE TABLE IF NOT EXISTS {database}.one (a String)\nENGINE = Log;\n")
TWO = Migration(
    "0002_two",
    "-- a comment; with a semicolon\n"
    "CREATE TABLE IF NOT EXISTS {database}.two (a String COMMENT 'x; y') ENGINE = Log;\n"
    "CREATE OR REPLACE VIEW {database}.both AS SELECT a FROM {database}.one;\n",
)


@pytest.fixture
def clickhouse(engines: Settings, tmp_path: Path) -> Iterator[ClickHouseSettings]:
    settings = isolated_settings(engines, tmp_path).primary.clickhouse
    yield settings
    database = ClickHouseDatabase(settings.model_copy(update={"database": "system"}))
    database.command(f"DROP DATABASE IF EXISTS {settings.database}")
    database.close()


def tables(settings: ClickHouseSettings) -> dict[str, str]:
    """Every table and view with its whole definition."""
    found = ClickHouseDatabase(settings).query(
        "SELECT name, create_table_query FROM system.tables WHERE database = {name:String}",
        {"name": settings.database},
    )
    return {str(row["name"]): str(row["create_table_query"]) for row in found}


def test_all_migrations_apply_once_and_are_shown(clickhouse: ClickHouseSettings) -> None:
    changes = migrate(clickhouse)
    assert len(changes) == 1 + len(migrations())
    first = tables(clickhouse)
    assert {"instances", "deliveries", "studies", "series", "conflicts", "quarantine"} <= set(first)
    assert migrate(clickhouse) == []
    assert tables(clickhouse) == first


def test_a_later_migration_alone_is_applied(clickhouse: ClickHouseSettings) -> None:
    apply(clickhouse, [ONE])
    assert apply(clickhouse, [ONE, TWO]) == [f"clickhouse {clickhouse.database}: applied 0002_two"]
    assert {"one", "two", "both"} <= set(tables(clickhouse))


def test_a_changed_migration_is_refused(clickhouse: ClickHouseSettings) -> None:
    apply(clickhouse, [ONE, TWO])
    changed = Migration(ONE.name, ONE.text.replace("a String", "b String"))
    with pytest.raises(FatalError, match=r"0001_one.*another text"):
        apply(clickhouse, [changed, TWO])
    assert apply(clickhouse, [ONE, TWO]) == []


def test_a_migration_that_broke_off_is_finished(clickhouse: ClickHouseSettings) -> None:
    broken = Migration(TWO.name, TWO.text + "SELECT * FROM {database}.nothing;\n")
    with pytest.raises(FatalError):
        apply(clickhouse, [ONE, broken])
    assert apply(clickhouse, [ONE, TWO]) == [f"clickhouse {clickhouse.database}: applied 0002_two"]


def test_studies_of_an_earlier_version_are_what_the_index_writer_composes(
    clickhouse: ClickHouseSettings,
) -> None:
    migrate(clickhouse)
    database = ClickHouseDatabase(clickhouse)
    database.command(
        "INSERT INTO series_rows (study_instance_uid, series_instance_uid, instances, size_bytes,"
        " modalities, sites, patients, first_received_at, knowledge)"
        " SELECT concat('1.2.', toString(intDiv(number, 3))), concat('1.3.', toString(number)),"
        " number, 10 * number, [concat('M', toString(number % 2))], ['north'],"
        " [(concat('P', toString(number % 5)), '', '', NULL, '', 1, 1, now64(6), now64(6))],"
        " toDateTime64(1700000000 + number, 6, 'UTC'), 1 FROM numbers(100)"
    )
    studies = [f"1.2.{number}" for number in range(34)]
    compose_instances(database, [ContentKey(study, "", "", "") for study in studies])
    composed = database.query("SELECT * FROM studies ORDER BY study_instance_uid")
    assert [len(composed), sum(int(str(row["instances"])) for row in composed)] == [34, 4950]
    database.command("TRUNCATE TABLE study_rows")
    for statement in migrations()[7].statements(clickhouse.database):
        database.command(statement)
    assert database.query("SELECT * FROM studies ORDER BY study_instance_uid") == composed
    database.close()


def test_what_is_pending_is_told_of_a_database_in_use(clickhouse: ClickHouseSettings) -> None:
    assert pending(clickhouse) == []  # nobody writes to what is not there
    apply(clickhouse, migrations()[:-1])
    assert pending(clickhouse) == [migrations()[-1].name]
    migrate(clickhouse)
    assert pending(clickhouse) == []


def test_two_at_the_same_time_end_in_one_schema(clickhouse: ClickHouseSettings) -> None:
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: migrate(clickhouse), range(2)))
    assert migrate(clickhouse) == []


def test_every_table_and_column_of_the_contract_is_described(
    clickhouse: ClickHouseSettings,
) -> None:
    migrate(clickhouse)
    found = ClickHouseDatabase(clickhouse).query(
        "SELECT name FROM system.tables WHERE database = {name:String} AND comment = ''",
        {"name": clickhouse.database},
    )
    assert found == []


def test_a_server_that_is_down_is_retryable() -> None:
    with pytest.raises(RetryableError):
        migrate(ClickHouseSettings(host="127.0.0.1", port=1, secure=False))


def test_numbers_are_unique_and_without_gap() -> None:
    numbers = [int(migration.name[:4]) for migration in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
