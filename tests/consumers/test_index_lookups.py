"""Look-ups by key and by identifier read a few granules, not the table."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from infra.clickhouse import ClickHouseDatabase
from infra.migrate import migrate
from infra.settings import Settings
from tests.engines import isolated_settings

ROWS = 100_000
# The granule that an index chose, and with FINAL its neighbours, which may begin with its keys.
GRANULES_MAX = 3
# Studies of 50 instances, as they would be told by 50 deliveries each, one after the other.
_KEYS = """
    concat('1.2.', toString(intDiv(number, 50))) AS study_instance_uid,
    concat(study_instance_uid, '.1') AS series_instance_uid,
    concat(series_instance_uid, '.', toString(number)) AS sop_instance_uid,
    lower(hex(SHA256(toString(number)))) AS content_sha256,
    concat('A', toString(intDiv(number, 50))) AS accession_number
"""
_COLUMNS = (
    "study_instance_uid, series_instance_uid, sop_instance_uid, content_sha256, accession_number"
)


@pytest.fixture(scope="module")
def filled(
    engines: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClickHouseDatabase]:
    settings = isolated_settings(engines, tmp_path_factory.mktemp("lookups"))
    migrate(settings.primary.clickhouse)
    database = ClickHouseDatabase(settings.primary.clickhouse)
    numbers = f"(SELECT number, {_KEYS} FROM numbers({ROWS}))"
    database.command(
        f"INSERT INTO instance_rows ({_COLUMNS}, patient_id, knowledge)"
        f" SELECT {_COLUMNS}, concat('P', toString(intDiv(number, 200))), 2 FROM {numbers}"
    )
    database.command(
        f"INSERT INTO delivery_rows (delivery_id, {_COLUMNS}, area)"
        f" SELECT leftPad(toString(number), 12, '0'), {_COLUMNS},"
        f" if(number = 7777, 'quarantine', 'packs') FROM {numbers}"
    )
    database.command(
        "INSERT INTO series_rows (study_instance_uid, series_instance_uid, instances, knowledge)"
        f" SELECT study_instance_uid, sop_instance_uid, 1, 2 FROM {numbers}"
    )
    database.command(
        "INSERT INTO study_rows (study_instance_uid, patient_id, accession_number, knowledge)"
        " SELECT concat('1.2.', toString(number)), concat('P', toString(number)),"
        f" concat('A', toString(number)), 2 FROM numbers({ROWS})"
    )
    yield database
    database.command(f"DROP DATABASE {database.name}")
    database.close()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("instances WHERE study_instance_uid = '1.2.77'", 50),
        ("instances WHERE sop_instance_uid = '1.2.77.1.3877'", 1),
        ("instances WHERE accession_number = 'A77'", 50),
        ("instances WHERE patient_id = 'P19'", 200),
        ("deliveries WHERE delivery_id = '000000003877'", 1),
        ("deliveries WHERE study_instance_uid = '1.2.77'", 50),
        ("deliveries WHERE series_instance_uid = '1.2.77.1'", 50),
        ("deliveries WHERE sop_instance_uid = '1.2.77.1.3877'", 1),
        ("deliveries WHERE accession_number = 'A77'", 50),
        ("quarantine", 1),
        ("studies WHERE study_instance_uid = '1.2.77'", 1),
        ("studies WHERE patient_id = 'P19'", 1),
        ("studies WHERE accession_number = 'A77'", 1),
        ("series WHERE study_instance_uid = '1.2.77'", 50),
    ],
)
def test_a_lookup_reads_few_granules(
    filled: ClickHouseDatabase, condition: str, expected: int
) -> None:
    (row,) = filled.query(f"SELECT count() AS found FROM {condition}")
    assert row["found"] == expected
    plan = filled.query(f"EXPLAIN indexes = 1 SELECT * FROM {condition}")
    text = "\n".join(str(line["explain"]) for line in plan)
    granules = re.findall(r"Granules: (\d+)/(\d+)", text)
    assert granules, text
    assert int(granules[0][1]) > 10, "too few rows to tell"
    assert int(granules[-1][0]) <= GRANULES_MAX, text


def test_an_older_row_that_matches_is_not_found(filled: ClickHouseDatabase) -> None:
    keys = "'9.1', '9.1.1', '9.1.1.1', 'f', "
    for accession, knowledge in (("OLD", 2), ("NEW", 3)):
        filled.command(
            f"INSERT INTO instance_rows ({_COLUMNS}, knowledge)"
            f" SELECT {keys} '{accession}', {knowledge}"
        )
    for accession, expected in (("OLD", 0), ("NEW", 1)):
        sql = f"SELECT count() AS found FROM instances WHERE accession_number = '{accession}'"
        assert filled.query(sql) == [{"found": expected}]
