"""Owns the chdb engine of one data directory and runs statements on it, several side by side.

Invariant: one process per data directory (a kernel lock that a crash releases), one statement
per connection at a time, and no state of one request is seen by the next.
It must not log a statement or an engine's message: both may carry patient data.
"""

from __future__ import annotations

import fcntl
import re
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import chdb

from infra.engines.clickhouse_body import RequestBody
from infra.engines.clickhouse_sql import Kind, Statement

# Enough for every process of the local stack at once; more would only share two cores.
QUERIES_MAX = 8
QUERY_WAIT_S = 30.0
IDLE_CONNECTIONS_MAX = 16
LOCK_WAIT_S = 10.0
# Defaults of every request, which its own settings may change: one query cannot eat the machine.
DEFAULT_SETTINGS: Mapping[str, str] = {"max_memory_usage": str(4 << 30), "async_insert": "0"}

_CODE = re.compile(r"Code: (\d+)\.")
_SETTING_NAME = re.compile(r"\w[\w.]*\Z")
CODE_UNKNOWN = 1002
CODE_SYNTAX_ERROR = 62
CODE_UNKNOWN_SETTING = 115
CODE_TOO_MANY_QUERIES = 202
CODE_NOT_IMPLEMENTED = 48
CODE_TOO_LARGE = 307
CODE_UNKNOWN_STATUS_OF_INSERT = 319
CODE_AUTHENTICATION_FAILED = 516


class EngineError(Exception):
    """A refusal with ClickHouse's own error code; the text is for the caller alone."""

    def __init__(self, code: int, message: str) -> None:
        is_complete = message.startswith("Code: ")
        super().__init__(message if is_complete else f"Code: {code}. DB::Exception: {message}.")
        self.code = code


class DataDirectoryBusy(Exception):
    """Another process owns the data directory."""


@dataclass(frozen=True)
class Session:
    """What a request may set for itself: the database, settings, and bound parameters."""

    database: str
    settings: tuple[tuple[str, str], ...]
    params: Mapping[str, str]


@dataclass
class Progress:
    """What a statement did so far, for X-ClickHouse-Summary."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0

    def add(self, result: Any) -> None:
        """Count one result of the engine (a stream's results each count their own part)."""
        self.read_rows += result.rows_read()
        self.read_bytes += result.bytes_read()
        self.written_rows += result.rows_written()
        self.written_bytes += result.bytes_written()


class Engine:
    """A chdb engine. Thread-safe; `close()` waits for nothing, so stop requests first."""

    def __init__(self, data_directory: Path) -> None:
        """Open the engine; raises DataDirectoryBusy after LOCK_WAIT_S."""
        data_directory.mkdir(parents=True, exist_ok=True)
        self._path = str(data_directory)
        self._lock_file = _locked(data_directory.with_name(data_directory.name + ".lock"))
        # Keeps the engine alive: chdb shuts it down with its last connection.
        self._anchor = chdb.connect(self._path)
        self.version: str = self._anchor.query("SELECT version()", "TabSeparated").data().strip()
        self._slots = threading.BoundedSemaphore(QUERIES_MAX)
        self._schema_lock = threading.Lock()
        self._idle_lock = threading.Lock()
        self._idle: list[tuple[Session, Any]] = []

    def close(self) -> None:
        """Closes every idle connection and with the last one the engine."""
        with self._idle_lock:
            for _, connection in self._idle:
                connection.close()
            self._idle.clear()
        self._anchor.close()
        self._lock_file.close()

    def run(
        self, statement: Statement, session: Session, output: str, body: RequestBody | None
    ) -> Generator[tuple[bytes, Progress], None, None]:
        """Run `statement`; yields its result in pieces, at least one, with the progress so far.

        An insert is durable against a kill of this process when the first piece is yielded.
        Raises EngineError; a SELECT may raise it between two pieces.
        """
        if statement.kind is Kind.SCHEMA:
            with self._schema_lock:
                yield from self._run_in_slot(statement, session, output, body)
        else:
            yield from self._run_in_slot(statement, session, output, body)

    def _run_in_slot(
        self, statement: Statement, session: Session, output: str, body: RequestBody | None
    ) -> Iterator[tuple[bytes, Progress]]:
        if not self._slots.acquire(timeout=QUERY_WAIT_S):
            raise EngineError(CODE_TOO_MANY_QUERIES, "all queries are taken")
        try:
            reusable = statement.kind is not Kind.SESSION
            with _translated(), self._connection(session, reusable) as connection:
                if statement.kind is Kind.SELECT and (statement.format or output) == "Native":
                    yield from _stream(connection, statement, session, output)
                elif statement.kind is Kind.INSERT_DATA:
                    yield b"", _insert(connection, statement, body)
                else:
                    yield _command(connection, statement, session, output)
        finally:
            self._slots.release()

    @contextmanager
    def _connection(self, session: Session, reusable: bool) -> Iterator[Any]:
        """A connection set up for `session`; after any failure it is closed, never reused."""
        key = Session(session.database, session.settings, {})
        connection = self._take_idle(key) or self._connect(key)
        clean = False
        try:
            yield connection
            clean = reusable
        finally:
            if not (clean and self._put_idle(key, connection)):
                connection.close()

    def _take_idle(self, key: Session) -> Any | None:
        with self._idle_lock:
            for index, (other, connection) in enumerate(self._idle):
                if other == key:
                    del self._idle[index]
                    return connection
        return None

    def _put_idle(self, key: Session, connection: Any) -> bool:
        with self._idle_lock:
            self._idle.append((key, connection))
            oldest = self._idle.pop(0) if len(self._idle) > IDLE_CONNECTIONS_MAX else None
        if oldest is not None:
            oldest[1].close()
        return True

    def _connect(self, session: Session) -> Any:
        connection = chdb.connect(self._path)
        try:
            settings = dict(DEFAULT_SETTINGS) | dict(session.settings)
            # readonly last: it forbids every SET after it.
            for name in sorted(settings, key=lambda name: name == "readonly"):
                if not _SETTING_NAME.match(name):
                    raise EngineError(CODE_UNKNOWN_SETTING, f"Unknown setting {name!r}")
                connection.query(f"SET {name} = {_quoted(settings[name], chr(39))}")
            if session.database:
                connection.query(f"USE {_quoted(session.database, '`')}")
        except BaseException:
            connection.close()
            raise
        return connection


def _stream(
    connection: Any, statement: Statement, session: Session, output: str
) -> Iterator[tuple[bytes, Progress]]:
    # Only Native: chdb streams no head and tail of a text format when there are no rows.
    stream = connection.send_query(_sql(statement), output, params=dict(session.params))
    progress = Progress()
    finished = False
    try:
        while (piece := stream.fetch()) is not None and piece.size():
            progress.add(piece)
            yield piece.bytes(), progress
        finished = True
        yield b"", progress
    finally:
        if not finished:
            stream.cancel()


def _command(
    connection: Any, statement: Statement, session: Session, output: str
) -> tuple[bytes, Progress]:
    result = connection.query(_sql(statement), output, params=dict(session.params))
    progress = Progress()
    progress.add(result)
    return result.bytes() or b"", progress


def _insert(connection: Any, statement: Statement, body: RequestBody | None) -> Progress:
    given_bytes = 0
    with connection.send_insert(_sql(statement), statement.format) as insert:
        for data in chain((statement.data,), body.chunks() if body is not None else ()):
            if data:
                given_bytes += len(data)
                insert.append(data)
        result = insert.finish()
    if given_bytes and not result.rows_written:
        # chdb 4.4 says nothing when the table refuses before the first row (too many parts): what
        # brought data and wrote no row would be taken for written.
        raise EngineError(CODE_UNKNOWN_STATUS_OF_INSERT, "the table took no row of this insert")
    return Progress(written_rows=result.rows_written, written_bytes=result.bytes_written)


def _sql(statement: Statement) -> str:
    # chdb takes text; what is not UTF-8 in a literal would be changed in silence.
    try:
        return statement.text.decode()
    except UnicodeDecodeError as error:
        raise EngineError(CODE_SYNTAX_ERROR, "the statement is not UTF-8") from error


def _quoted(text: str, mark: str) -> str:
    return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark


@contextmanager
def _translated() -> Iterator[None]:
    """chdb raises ChdbError or plain RuntimeError; ClickHouse's code stands in its text."""
    try:
        yield
    except RuntimeError as error:
        message = str(error)
        found = _CODE.search(message)
        code = int(found.group(1)) if found else CODE_UNKNOWN
        raise EngineError(code, message[found.start() :] if found else message) from error


def _locked(path: Path) -> Any:
    """The kernel drops this lock when its holder dies, so nothing stale can be left behind."""
    file = path.open("a+b")
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                file.close()
                raise DataDirectoryBusy(f"{path} is held by another process") from error
        time.sleep(0.05)
