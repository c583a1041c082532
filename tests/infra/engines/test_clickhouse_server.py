"""The ClickHouse stand-in, through clickhouse-connect and through bare sockets."""

from __future__ import annotations

import datetime as dt
import gzip
import http.client
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, Error

from infra.settings import Settings
from tests.polling import eventually

ANSWER_S = 90.0


def client(port: int, **options: Any) -> Client:
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=port, autogenerate_session_id=False, **options
    )


@pytest.fixture
def port(engines: Settings) -> int:
    return engines.primary.clickhouse.port


@pytest.fixture
def database(port: int) -> Iterator[str]:
    name = f"protocol_{uuid.uuid4().hex[:12]}"
    connection = client(port)
    connection.command(f"CREATE DATABASE {name}")
    yield name
    connection.command(f"DROP DATABASE {name}")


@pytest.mark.parametrize("compress", [False, "gzip", "zstd", "lz4"])
def test_column_inserts_come_back_with_their_types(
    port: int, database: str, compress: bool | str
) -> None:
    connection = client(port, database=database, compress=compress, tz_mode="aware")
    connection.command(
        "CREATE TABLE t (id UInt64, s String, at DateTime64(6, 'UTC'), d DateTime('UTC'),"
        " m Map(LowCardinality(String), String), a Array(Tuple(String, UInt64)),"
        " n Nullable(String), l LowCardinality(String), f Float64, b Bool, e Date32)"
        " ENGINE = MergeTree ORDER BY id"
    )
    at = dt.datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=dt.UTC)
    row = [
        *(7, "O'Hara\t\n\\ é漢", at, at.replace(microsecond=0), {"k": "v'"}, [("x", 2)]),
        *(None, "CT", 1.5, True, dt.date(1931, 5, 4)),
    ]
    columns = [[value] * 1000 for value in row]
    summary = connection.insert("t", columns, column_names="*", column_oriented=True)
    assert summary.written_rows == 1000
    (stored,) = connection.query("SELECT DISTINCT * FROM t").result_rows
    assert list(stored) == row
    assert connection.command("SELECT count() FROM t") == 1000


def test_parameters_are_values_and_never_text_of_the_statement(port: int) -> None:
    sharp = "'); DROP TABLE x -- \\ \t\n é"
    result = client(port).query(
        "SELECT {s:String}, {n:UInt8} + 1, {l:Array(String)}",
        parameters={"s": sharp, "n": 4, "l": ["a", sharp]},
    )
    assert result.result_rows == [(sharp, 5, ["a", sharp])]


def test_parameters_too_long_for_a_target_come_as_a_form(port: int) -> None:
    long = "x" * 200_000
    assert client(port).query("SELECT {s:String}", parameters={"s": long}).first_row == (long,)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT * FROM nowhere", 60),
        ("SELECT * FROM nowhere.t", 81),
        ("SELECT nothing", 47),
        ("SELEC 1", 62),
        ("SELECT 1; SELECT 2", 62),
        ("", 62),
        ("SELECT throwIf(1)", 395),
        ("SELECT 1 SETTINGS no_such_setting = 1", 115),
        ("SELECT CAST('x' AS UInt8)", 6),
        ("SELECT 1 + 'x'", 43),
    ],
)
def test_errors_carry_clickhouse_codes(port: int, statement: str, code: int) -> None:
    answer, body = post(port, "/?default_format=JSON", statement.encode())
    assert answer.getheader("X-ClickHouse-Exception-Code") == str(code)
    assert answer.status >= 400
    assert body.startswith(f"Code: {code}. DB::Exception:".encode())


def test_clickhouse_connect_sees_the_code(port: int) -> None:
    with pytest.raises(DatabaseError) as caught:
        client(port).query("SELECT * FROM nowhere")
    assert caught.value.code == 60


def test_an_unknown_setting_in_the_target_is_refused(port: int) -> None:
    answer, _ = post(port, "/?no_such_setting=1", b"SELECT 1")
    assert answer.getheader("X-ClickHouse-Exception-Code") == "115"


def test_settings_of_one_request_do_not_reach_the_next(port: int) -> None:
    connection = client(port)
    statement = "SELECT getSetting('max_threads')"
    ours = connection.command(statement, settings={"max_threads": 1})
    connection.command("SET max_threads = 1")
    assert ours == 1
    assert connection.command(statement) != 1


def test_a_get_cannot_write(port: int, database: str) -> None:
    answer, _ = call(port, "GET", f"/?query=CREATE+TABLE+{database}.t(a+Int8)+ENGINE=Memory")
    assert answer.getheader("X-ClickHouse-Exception-Code") == "164"


def test_another_user_is_refused(port: int) -> None:
    with pytest.raises(DatabaseError) as caught:
        client(port, username="somebody", password="wrong")
    assert caught.value.code == 516


def test_inserts_in_other_formats_and_places(port: int, database: str) -> None:
    connection = client(port, database=database)
    connection.command("CREATE TABLE t (a Int64, b String) ENGINE = MergeTree ORDER BY a")
    connection.command("INSERT INTO t VALUES (1, 'x;y'), (2, 'FORMAT Native')")
    connection.command('INSERT INTO t FORMAT JSONEachRow {"a": 3, "b": ""}')
    connection.raw_insert("t", ["a", "b"], b"4\tp\n5\tq\n", fmt="TSV")
    target = f"/?database={database}&query=INSERT+INTO+t+FORMAT+CSV"
    assert post(port, target, gzip.compress(b"6,r\n"), "gzip")[0].status == 200
    assert post(port, f"/?database={database}&query=INSERT+INTO+t+VALUES", b"(7,'s')")[0].status
    connection.command("INSERT INTO t SELECT a + 100, b FROM t")
    expected = list(range(1, 8)) + list(range(101, 108))
    assert [a for (a,) in connection.query("SELECT a FROM t ORDER BY a").result_rows] == expected


def test_an_insert_that_the_table_refuses_is_no_success(port: int, database: str) -> None:
    connection = client(port, database=database)
    connection.command("CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")
    connection.insert("t", [[1]], column_names=["a"])
    connection.command("ALTER TABLE t MODIFY SETTING parts_to_throw_insert = 1")
    with pytest.raises(DatabaseError) as caught:
        connection.insert("t", [[2]], column_names=["a"])
    assert caught.value.code in (252, 319)
    connection.command("ALTER TABLE t RESET SETTING parts_to_throw_insert")
    connection.insert("t", [[2]], column_names=["a"])
    assert connection.command("SELECT count() FROM t") == 2


def test_a_torn_insert_writes_nothing(port: int, database: str) -> None:
    connection = client(port, database=database)
    connection.command("CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")
    with socket.create_connection(("127.0.0.1", port), ANSWER_S) as raw:
        target = f"/?database={database}&query=INSERT+INTO+t+FORMAT+TSV"
        raw.sendall(f"POST {target} HTTP/1.1\r\nContent-Length: 1000\r\n\r\n".encode())
        raw.sendall(b"1\n2\n")
    bad_rows = connection.raw_insert
    with pytest.raises(Error):
        bad_rows("t", ["a"], b"1\nnot a number\n", fmt="TSV")
    assert connection.command("SELECT count() FROM t") == 0


def test_formats_without_rows_are_still_documents(port: int) -> None:
    connection = client(port)
    empty = connection.raw_query("SELECT number FROM numbers(0)", fmt="JSON")
    assert b'"rows": 0' in empty
    assert connection.query("SELECT number AS n FROM numbers(0)").result_rows == []
    assert connection.query("SELECT 1 AS n LIMIT 0").column_names == ("n",)


def test_a_long_result_is_streamed_and_complete(port: int) -> None:
    rows = 2_000_000
    with client(port).query_column_block_stream(
        "SELECT number FROM numbers({rows:UInt64})", parameters={"rows": rows}
    ) as blocks:
        assert sum(sum(block[0]) for block in blocks) == rows * (rows - 1) // 2


def test_a_late_error_is_no_complete_result(port: int) -> None:
    with pytest.raises(Error):
        client(port).query("SELECT throwIf(number = 3000000) FROM numbers(4000000)")


def test_a_point_query_does_not_wait_for_a_long_one(port: int) -> None:
    connection = client(port)

    def is_overtaken() -> bool:
        """Whether point queries came back during a long one; on a busy machine they are slow."""
        long_ended = threading.Event()

        def run_long() -> None:
            client(port).command("SELECT sleepEachRow(0.5) FROM numbers(6) FORMAT Null")
            long_ended.set()

        thread = threading.Thread(target=run_long)
        thread.start()
        for _ in range(20):
            assert connection.command("SELECT 1") == 1
        has_ended = long_ended.is_set()
        thread.join()
        return not has_ended

    eventually(is_overtaken, "twenty point queries during a long one")


def test_many_clients_at_once_each_get_their_own_answer(port: int, database: str) -> None:
    first = client(port, database=database)
    first.command("CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")

    def work(number: int) -> bool:
        connection = client(port, database=database)
        connection.command(f"CREATE TABLE t{number} (a Int64) ENGINE = MergeTree ORDER BY a")
        connection.insert("t", [[number] * 10], column_names=["a"], column_oriented=True)
        count = connection.command("SELECT count() FROM t WHERE a = {a:Int64}", {"a": number})
        return count == 10

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(work, range(24)))
    assert first.command("SELECT count() FROM t") == 240


def test_answers_on_a_kept_connection_arrive_without_nagles_wait(port: int) -> None:
    """Head and body in one send: a client that delays its acknowledgements is never waited for."""
    request = b"POST / HTTP/1.1\r\nContent-Length: 8\r\n\r\nSELECT 1"
    with socket.create_connection(("127.0.0.1", port), ANSWER_S) as raw:
        for _ in range(20):
            raw.sendall(request)
            answer = raw.recv(65536)
            assert answer.endswith(b"\r\n\r\n1\n"), "the first read holds head and body"


def test_broken_framing_ends_the_connection_with_an_answer(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), ANSWER_S) as raw:
        raw.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    answer_, _ = post(port, "/", b"\x1f\x8b broken", "gzip")
    assert answer_.status == 400


def test_a_query_id_cannot_add_header_lines(port: int) -> None:
    answer, _ = post(port, "/?query_id=a%0d%0aX-Bad:%20yes", b"SELECT 1")
    assert answer.getheader("X-Bad") is None


def post(
    port: int, target: str, body: bytes, encoding: str = ""
) -> tuple[http.client.HTTPResponse, bytes]:
    return call(port, "POST", target, body, encoding)


def call(
    port: int, method: str, target: str, body: bytes = b"", encoding: str = ""
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    headers = {"Content-Encoding": encoding} if encoding else {}
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data
