"""Statements are told apart without being understood."""

from __future__ import annotations

import pytest

from infra.engines.clickhouse_sql import Kind, Statement, StatementError, split_statement


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        (b"SELECT 1", Kind.SELECT),
        (b"  -- a comment; with a semicolon\n select ';' ;  ", Kind.SELECT),
        (b"/* x */ WITH 1 AS a SELECT a", Kind.SELECT),
        (b"(SELECT 1) UNION ALL (SELECT 2)", Kind.SELECT),
        (b"CREATE TABLE t (a String DEFAULT 'x;y')", Kind.SCHEMA),
        (b"CREATE TEMPORARY TABLE t (a Int8)", Kind.SESSION),
        (b"exchange tables a and b", Kind.SCHEMA),
        (b"SET max_threads = 1", Kind.SESSION),
        (b"USE hilum", Kind.SESSION),
        (b"OPTIMIZE TABLE t FINAL", Kind.OTHER),
        (b"INSERT INTO t VALUES (1), (2)", Kind.OTHER),
        (b"INSERT INTO t SELECT 1 FORMAT Native", Kind.OTHER),
        (b"INSERT INTO t (a) WITH 1 AS x SELECT x", Kind.OTHER),
        (b"INSERT INTO t FROM INFILE 'x' FORMAT CSV", Kind.OTHER),
        (b"INSERT INTO t FORMAT Values (1)", Kind.OTHER),
    ],
)
def test_kinds(sql: bytes, kind: Kind) -> None:
    assert split_statement(sql).kind is kind


def test_inline_data_begins_after_the_formats_line() -> None:
    body = b"\x01\n\x00 FORMAT CSV ;\n"
    found = split_statement(b"INSERT INTO `a FORMAT b` (x, `format`) FORMAT Native\n" + body)
    head = b"INSERT INTO `a FORMAT b` (x, `format`) "
    assert found == Statement(Kind.INSERT_DATA, head, "Native", body)


def test_inline_data_may_follow_on_the_same_line() -> None:
    found = split_statement(b'insert into t format JSONEachRow {"a": "x;y"}\n{"a": 2}')
    assert (found.format, found.data) == ("JSONEachRow", b'{"a": "x;y"}\n{"a": 2}')


def test_settings_stand_before_the_format() -> None:
    found = split_statement(b"INSERT INTO t (a) SETTINGS async_insert=0 FORMAT CSV\n1\n")
    assert found.text == b"INSERT INTO t (a) SETTINGS async_insert=0 "
    assert found.data == b"1\n"


def test_the_output_format_is_the_last_one_named() -> None:
    assert split_statement(b"SELECT 'FORMAT CSV' AS format\n FORMAT Native").format == "Native"
    assert split_statement(b"SELECT 1 -- FORMAT CSV").format == ""


@pytest.mark.parametrize("sql", [b"", b" \n", b"-- only a comment", b"SELECT 1; SELECT 2"])
def test_what_is_not_one_statement_is_refused(sql: bytes) -> None:
    with pytest.raises(StatementError):
        split_statement(sql)
