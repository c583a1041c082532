"""Splits one ClickHouse statement from the data that may follow it, without understanding SQL.

Invariant: quoted text and comments never change how a statement is classified.
It must not rewrite SQL: the engine receives the caller's own text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

# Words that end the part of an INSERT which this module needs to read.
_SOURCE_WORDS = frozenset({"SELECT", "WITH", "VALUES", "FROM", "WATCH"})
_SCHEMA_WORDS = frozenset(
    {"CREATE", "ALTER", "DROP", "RENAME", "EXCHANGE", "TRUNCATE", "ATTACH", "DETACH", "UNDROP"}
)
_SESSION_WORDS = frozenset({"SET", "USE"})
_SELECT_WORDS = frozenset({"SELECT", "WITH", "("})

_TOKEN = re.compile(
    rb"""
      (?P<skip>\s+ | --[^\n]* | \#[!\ ][^\n]* | /\*.*?\*/)
    | (?P<quoted>'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*`)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class Kind(Enum):
    """What a statement needs from the engine."""

    SELECT = "select"  # may be streamed
    SCHEMA = "schema"  # one at a time
    INSERT_DATA = "insert data"  # a head, a format, and bytes in that format
    SESSION = "session"  # changes the connection it runs on
    OTHER = "other"


class StatementError(Exception):
    """The text is not one statement; the message is what the caller reads."""


@dataclass(frozen=True)
class Statement:
    """One statement for the engine; `format` of what a SELECT gives or an INSERT brings."""

    kind: Kind
    text: bytes
    format: str = ""
    data: bytes = b""


@dataclass(frozen=True)
class _Token:
    text: bytes
    start: int
    end: int
    is_word: bool

    @property
    def upper(self) -> str:
        return self.text.decode("ascii", "replace").upper()


def split_statement(sql: bytes) -> Statement:
    """Classify `sql`; for `INSERT … FORMAT name` also cut the inline data off its head.

    Raises StatementError when the text is empty or holds a second statement, as a server does.
    """
    tokens = _tokens(sql)
    first = next(tokens, None)
    if first is None:
        raise StatementError("Empty query")
    word = first.upper
    if word == "INSERT":
        return _split_insert(sql, first, tokens)
    output = _output_format(tokens)
    if word in _SELECT_WORDS:
        return Statement(Kind.SELECT, sql, output)
    if word in _SCHEMA_WORDS:
        temporary = word == "CREATE" and b"TEMPORARY" in sql.upper()
        return Statement(Kind.SESSION if temporary else Kind.SCHEMA, sql)
    return Statement(Kind.SESSION if word in _SESSION_WORDS else Kind.OTHER, sql)


def _split_insert(sql: bytes, first: _Token, tokens: Iterator[_Token]) -> Statement:
    depth = 0
    for token in tokens:
        if token.text in (b"(", b")"):
            depth += 1 if token.text == b"(" else -1
        elif depth == 0 and token.is_word and token.upper in _SOURCE_WORDS:
            return Statement(Kind.OTHER, sql)
        elif depth == 0 and token.is_word and token.upper == "FORMAT":
            name = next(tokens, None)
            if name is None or not name.is_word:
                break
            head = sql[first.start : token.start]
            if name.upper == "VALUES":
                return Statement(Kind.OTHER, sql)
            return Statement(
                Kind.INSERT_DATA, head, name.text.decode("ascii"), _inline_data(sql[name.end :])
            )
    return Statement(Kind.OTHER, sql)


def _inline_data(rest: bytes) -> bytes:
    """Bytes after the format's name: a server drops blanks up to and with the first newline."""
    line, newline, after = rest.partition(b"\n")
    if newline and not line.strip(b" \t\r;"):
        return after
    return rest.lstrip(b" \t\r\n;")


def _output_format(tokens: Iterator[_Token]) -> str:
    """The word after the last FORMAT; on the way a second statement is refused."""
    output, is_named, is_ended = "", False, False
    for token in tokens:
        if token.text == b";":
            is_ended = True
        elif is_ended:
            raise StatementError("Multi-statements are not allowed")
        elif is_named and token.is_word:
            output = token.text.decode("ascii")
        is_named = token.is_word and token.upper == "FORMAT"
    return output


def _tokens(sql: bytes) -> Iterator[_Token]:
    for match in _TOKEN.finditer(sql):
        if match.lastgroup != "skip":
            yield _Token(match.group(), match.start(), match.end(), match.lastgroup == "word")
