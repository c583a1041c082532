"""What the ClickHouse stand-in keeps when it is killed, and that it has one owner."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from tests.engines import RunningEngines, start_engines
from tests.polling import WITHIN_S


def client(port: int, **options: Any) -> Client:
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=port, autogenerate_session_id=False, **options
    )


def test_acknowledged_rows_survive_kill_during_inserts(tmp_path: Path) -> None:
    engines = start_engines(tmp_path, only=lambda name: name == "clickhouse-primary")
    port = engines.settings.primary.clickhouse.port
    client(port).command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    acknowledged: set[int] = set()
    try:
        for start in range(0, 3_000_000, 1_000_000):
            acknowledged |= _insert_until_killed(engines, port, start)
            engines.start("clickhouse-primary")
            engines.await_ready()
            found = {a for (a,) in client(port).query("SELECT DISTINCT a FROM t").result_rows}
            assert acknowledged <= found
    finally:
        engines.stop()
    assert len(acknowledged) > 3_000


def test_a_second_process_cannot_open_the_same_data(tmp_path: Path) -> None:
    engines = start_engines(tmp_path, only=lambda name: name == "clickhouse-primary")
    first = engines.processes["clickhouse-primary"]
    try:
        engines.start("clickhouse-primary")
        assert engines.processes["clickhouse-primary"].wait(WITHIN_S) == 1
        assert "held by another process" in (tmp_path / "clickhouse-primary.log").read_text()
    finally:
        engines.processes["clickhouse-primary"] = first
        engines.stop()
    assert first.returncode == 0


def _insert_until_killed(engines: RunningEngines, port: int, start: int) -> set[int]:
    acknowledged: set[int] = set()
    enough = threading.Event()

    def insert() -> None:
        connection = client(port)
        for first in range(start, start + 1_000_000, 500):
            rows = list(range(first, first + 500))
            try:
                connection.insert("t", [rows], column_names=["a"], column_oriented=True)
            except Error:
                return
            acknowledged.update(rows)
            if len(acknowledged) >= 5_000:
                enough.set()

    thread = threading.Thread(target=insert)
    thread.start()
    assert enough.wait(WITHIN_S)
    engines.kill("clickhouse-primary")
    thread.join()
    return acknowledged
