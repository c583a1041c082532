"""The ClickHouse seam on a real engine: values both ways, and failures in their classes."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from contracts.failures import FatalError, PoisonError, Reason, RetryableError
from infra.clickhouse import ClickHouseDatabase
from infra.clickhouse_errors import translate
from infra.map_pieces import PiecedMap
from infra.migrate import apply
from infra.settings import ClickHouseSettings, Settings
from tests.engines import isolated_settings

_TABLE = """
CREATE TABLE things
(
    name String,
    amount UInt32,
    at DateTime64(6, 'UTC'),
    day Nullable(Date32),
    texts Array(String),
    tags Map(LowCardinality(String), String),
    note String DEFAULT 'none'
)
ENGINE = MergeTree ORDER BY name
"""
AT = datetime(2026, 3, 5, 12, 0, 0, 123456, UTC)


@pytest.fixture
def clickhouse(engines: Settings, tmp_path: Path) -> ClickHouseSettings:
    return isolated_settings(engines, tmp_path).primary.clickhouse


@pytest.fixture
def things(clickhouse: ClickHouseSettings) -> Iterator[ClickHouseDatabase]:
    apply(clickhouse, [])
    database = ClickHouseDatabase(clickhouse)
    database.command(_TABLE)
    yield database
    database.command(f"DROP DATABASE {database.name}")
    database.close()


def a_thing(**changes: object) -> dict[str, list[object]]:
    row: dict[str, object] = {"name": "a", "amount": 1, "at": AT, "day": None, "texts": []}
    return {name: [value] for name, value in (row | {"tags": {}} | changes).items()}


def test_rows_come_back_as_they_went_in(things: ClickHouseDatabase) -> None:
    texts = ["O'Neil", "a\\b\n\t\x00", "日本 🏥", ""]
    row = a_thing(name=texts[1], day=date(1931, 4, 5), texts=texts, tags={"Ⅰ": texts[0]})
    things.table("things").insert(row)
    (told,) = things.query("SELECT * FROM things")
    assert told == {name: values[0] for name, values in row.items()} | {"note": "none"}


@pytest.mark.parametrize("keys", [3, 300, 70_000])
def test_maps_in_pieces_come_back_as_they_went_in(things: ClickHouseDatabase, keys: int) -> None:
    # More keys than two bytes can number are another form on the wire, and so is a long text.
    shared = {f"key {number}": "x" * (number % 200) for number in range(keys)}
    own: list[dict[str, str]] = [{"Ⅰ": "O'Neil"}, {}, {"Ⅰ": "日本" * 200, "Ⅱ": "\x00"}]
    maps = [
        PiecedMap((own[0], shared, own[1])),
        PiecedMap(()),
        PiecedMap((shared, own[2])),
        PiecedMap((own[2],)),
    ]
    names = [str(number) for number in range(len(maps))]
    for _ in range(2):  # the column's type is asked for at the first insert only
        things.command("TRUNCATE TABLE things")
        things.table("things").insert({"name": names, "tags": maps})
        told: list[Any] = things.query("SELECT tags FROM things ORDER BY name")
        assert [list(row["tags"].items()) for row in told] == [list(one.items()) for one in maps]


def test_maps_in_pieces_and_others_may_stand_in_one_column(things: ClickHouseDatabase) -> None:
    shared = {"a": "1", "b": "2"}
    maps = [PiecedMap((shared, {"c": "3"})), {"d": "4"}, {}]
    things.table("things").insert({"name": ["1", "2", "3"], "tags": maps})
    told = things.query("SELECT tags FROM things ORDER BY name")
    assert [row["tags"] for row in told] == [{"a": "1", "b": "2", "c": "3"}, {"d": "4"}, {}]


_FIRST_WRITE = """
import sys
from infra.clickhouse import ClickHouseDatabase
from infra.map_pieces import PiecedMap
from infra.settings import ClickHouseSettings

settings = ClickHouseSettings.model_validate_json(sys.argv[1])
before = set(sys.modules)
database = ClickHouseDatabase(settings)
database.table("things").insert({"name": ["a"], "tags": [PiecedMap(({"b": "c"}, {"d": "e"}))]})
assert database.query("SELECT name FROM things") == [{"name": "a"}]
late = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(late - sys.stdlib_module_names))
"""


def test_a_first_write_imports_no_library(
    things: ClickHouseDatabase, clickhouse: ClickHouseSettings
) -> None:
    # What is imported late fails late, where memory is short, and looks like a row's own fault.
    told = subprocess.run(
        [sys.executable, "-c", _FIRST_WRITE, clickhouse.model_dump_json()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.stdout.strip() == "[]", told.stderr


def test_times_are_aware_and_of_any_zone(things: ClickHouseDatabase) -> None:
    there = AT.astimezone(timezone(timedelta(hours=-7)))
    things.table("things").insert(a_thing(at=there))
    (told,) = things.query("SELECT at FROM things WHERE at = {at:DateTime64(6, 'UTC')}", {"at": AT})
    assert told["at"] == AT and getattr(told["at"], "tzinfo", None) is not None


def test_parameters_may_be_long_and_hostile(things: ClickHouseDatabase) -> None:
    names = [f"1.2.{number}'\\{{x}}" for number in range(5_000)]
    columns: dict[str, list[object]] = {"name": [*names], "amount": [1] * len(names)}
    things.table("things").insert(columns)
    where = {"names": names}
    (told,) = things.query(
        "SELECT count() AS n FROM things WHERE name IN {names:Array(String)}", where
    )
    assert told["n"] == len(names)
    things.command(
        "INSERT INTO things (name, amount) SELECT name, 2 FROM things"
        " WHERE name IN {names:Array(String)}",
        where,
    )
    assert things.query("SELECT sum(amount) AS n FROM things") == [{"n": 3 * len(names)}]


def test_no_rows_are_no_request() -> None:
    nowhere = ClickHouseSettings(host="127.0.0.1", port=1, secure=False)
    ClickHouseDatabase(nowhere).table("things").insert({"name": []})


@pytest.mark.parametrize(
    "change",
    [
        *({"amount": -1}, {"amount": 2**40}, {"amount": "x"}, {"at": "noon"}),
        *({"name": 5}, {"name": "\ud800"}, {"name": None}, {"texts": [1]}),
        {"tags": PiecedMap(({"a": "1"}, {"b": "\ud800"}))},
    ],
)
def test_a_value_that_does_not_fit_is_poison(
    things: ClickHouseDatabase, change: dict[str, Any]
) -> None:
    with pytest.raises(PoisonError) as caught:
        things.table("things").insert(a_thing(**change))
    assert caught.value.reason is Reason.REFUSED_BY_SINK
    things.table("things").insert(a_thing())
    assert things.query("SELECT count() AS n FROM things") == [{"n": 1}]


def test_missing_things_are_fatal_with_a_next_step(
    things: ClickHouseDatabase, clickhouse: ClickHouseSettings
) -> None:
    with pytest.raises(FatalError, match=r"code 60.*hilum up"):
        things.table("nothing").insert({"name": ["a"]})
    with pytest.raises(FatalError, match=r"code 16.*hilum up"):
        things.table("things").insert({"nothing": ["a"]})
    with pytest.raises(FatalError, match=r"code 60.*hilum up"):
        things.query("SELECT * FROM nothing")
    other = ClickHouseDatabase(clickhouse.model_copy(update={"database": "not_there"}))
    with pytest.raises(FatalError, match=r"code 81.*hilum up"):
        other.query("SELECT * FROM things")


def test_a_wrong_password_is_fatal_and_named(clickhouse: ClickHouseSettings) -> None:
    wrong = clickhouse.model_copy(update={"password": SecretStr("wrong-secret")})
    with pytest.raises(FatalError, match="username and password") as caught:
        ClickHouseDatabase(wrong).query("SELECT 1")
    assert "wrong-secret" not in str(caught.value)


def test_a_server_that_is_down_is_retryable_and_then_found() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        down = ClickHouseDatabase(ClickHouseSettings(host="127.0.0.1", port=port, secure=False))
        for _ in range(2):
            with pytest.raises(RetryableError):
                down.query("SELECT 1")
        with pytest.raises(RetryableError):
            down.table("things").insert({"name": ["a"]})


def test_failures_hold_nothing_of_the_statement(things: ClickHouseDatabase) -> None:
    with pytest.raises(FatalError) as caught:
        things.query("SELECT 'DOE^JANE' FROM nothing")
    chain: list[BaseException] = [caught.value]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    assert len(chain) > 1
    assert not any("DOE" in str(error) for error in chain)


def test_threads_share_a_database(things: ClickHouseDatabase) -> None:
    def one(number: int) -> None:
        things.table("things").insert(a_thing(name=str(number)))
        things.query("SELECT count() FROM things")

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(one, range(24)))
    assert things.query("SELECT uniqExact(name) AS n FROM things") == [{"n": 24}]


def test_closing_is_not_the_end(things: ClickHouseDatabase) -> None:
    things.close()
    assert things.query("SELECT 1 AS one") == [{"one": 1}]


@pytest.mark.parametrize(
    ("code", "is_insert", "kind"),
    [
        *((code, True, PoisonError) for code in (117, 53, 6, 321)),
        *((code, False, FatalError) for code in (117, 53, 62, 47, 60, 81, 16, 516, 192, 497, 9999)),
        *((code, True, FatalError) for code in (16, 60, 81, 516, 62, 9999)),
        *((code, True, RetryableError) for code in (252, 241, 202, 209, 210, 242, 319, 999)),
        (None, True, RetryableError),
    ],
)
def test_codes_have_their_class(code: int | None, is_insert: bool, kind: type[Exception]) -> None:
    assert type(translate(code, "inserting 3 rows into things", is_insert)) is kind
