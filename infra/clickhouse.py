"""One site's ClickHouse over HTTP: typed columns in, rows as dicts out, failures in three classes.

Invariant: an insert that returned is in a part of the table; nothing is retried here, because the
callers' retries are idempotent and have a deadline. It must not interpret rows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import clickhouse_connect
from clickhouse_connect import common
from clickhouse_connect.driver import options
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DataError,
    Error,
    ProgrammingError,
)

from contracts.failures import PoisonError, Reason
from infra.clickhouse_errors import translate
from infra.clickhouse_maps import with_pieces
from infra.settings import ClickHouseSettings

CONNECT_TIMEOUT_S = 5
# Longer than any statement of ours takes, shorter than a consumer's write deadline.
ANSWER_TIMEOUT_S = 60

# Rows are lists here. Before an insert the driver would ask whether they are a data frame, and
# import pandas for it wherever that is installed: half a second and 60 MB within the first write,
# and where memory is short a half-made module, whose error would look like a row's.
vars(options).update(np=None, pd=None)
# The driver names the operating system's user in every request otherwise.
common.set_setting("send_os_user", False)
# It logs what it raises, with a traceback; we report the failure once, in our own words.
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)

_SETTINGS: Mapping[str, object] = {
    # On return the rows must be in a part, not in a buffer of the server.
    "async_insert": 0,
    # Rows of one key are merged by the engine later, as ever, and no reader relies on it; at the
    # insert it would copy all of them one by one to look for some (its CPU for a row with 250 tags
    # 45 : 37 us, with typed columns alone 6.8 : 4.2).
    "optimize_on_insert": 0,
    # A statement given up by us must not go on for the server's idea of time.
    "max_execution_time": ANSWER_TIMEOUT_S,
}


class ClickHouseDatabase:
    """`infra.seams.Database` on clickhouse-connect; usable from several threads.

    Nothing is connected before the first call, so a process starts while ClickHouse is down.
    """

    def __init__(self, settings: ClickHouseSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._tables: dict[str, ClickHouseTable] = {}

    @property
    def name(self) -> str:
        return self._settings.database

    def table(self, name: str) -> ClickHouseTable:
        with self._lock:
            if name not in self._tables:
                self._tables[name] = ClickHouseTable(self, name)
            return self._tables[name]

    def query(
        self, sql: str, parameters: Mapping[str, object] | None = None
    ) -> list[dict[str, object]]:
        with _translated(f"querying {self.name}"):
            result = self._connected().query(sql, parameters=dict(parameters or {}))
            return list(result.named_results())

    def command(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        with _translated(f"running a statement in {self.name}"):
            # Not Client.command: that puts parameters into the URL, where a thousand UIDs are
            # too long for servers and proxies; this one sends them as form fields.
            self._connected().raw_query(sql, parameters=dict(parameters or {}))

    def close(self) -> None:
        """Closes the connections; a later call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = _connect(self._settings)
            return self._client


class ClickHouseTable:
    """`infra.seams.Table`. Column types are asked for once per set of columns."""

    def __init__(self, database: ClickHouseDatabase, name: str) -> None:
        self._database = database
        self._name = name
        self._types: dict[tuple[str, ...], Sequence[Any]] = {}

    @property
    def name(self) -> str:
        return self._name

    def insert(self, columns: Mapping[str, Sequence[object]]) -> None:
        names = tuple(columns)
        rows = {len(column) for column in columns.values()}
        assert len(rows) == 1, f"columns of {self._name} have different lengths"
        count = rows.pop()
        if count == 0:
            return
        doing = f"inserting {count} rows into {self._database.name}.{self._name}"
        with _translated(doing, is_insert=True):
            client = self._database._connected()
            types = self._types.get(names)
            context = client.create_insert_context(
                self._name,
                names,
                database=self._database.name,
                column_types=types,
                column_oriented=True,
            )
            if types is None:
                context.column_types = with_pieces(context.column_types)
            client.insert(context=context, data=list(columns.values()))
            self._types[names] = context.column_types


@contextmanager
def _translated(doing: str, is_insert: bool = False) -> Iterator[None]:
    try:
        yield
    except DataError as cause:
        raise translate(117, doing, is_insert) from cause
    except ProgrammingError as cause:
        # The driver compares columns with the table before it sends any row: code 16 is theirs.
        raise translate(cause.code or 16, doing, is_insert) from cause
    except Error as cause:
        raise translate(cause.code, doing, is_insert) from cause
    except ClickHouseError as cause:
        raise translate(None, doing, is_insert) from cause
    except OSError as cause:
        raise translate(None, doing, is_insert) from cause
    # What the driver's serialisation raises for a value that does not fit its column.
    except (TypeError, ValueError, OverflowError, AttributeError, ArithmeticError) as cause:
        if not is_insert:
            raise
        kind = type(cause).__name__
        raise PoisonError(Reason.REFUSED_BY_SINK, f"{doing}: a value is {kind}") from cause


def _connect(settings: ClickHouseSettings) -> Client:
    return clickhouse_connect.get_client(
        host=settings.host,
        port=settings.port,
        username=settings.username,
        password=settings.password.get_secret_value(),
        secure=settings.secure,
        database=settings.database,
        ca_cert=str(settings.ca_file) if settings.ca_file else None,
        connect_timeout=CONNECT_TIMEOUT_S,
        send_receive_timeout=ANSWER_TIMEOUT_S,
        client_name="hilum",
        query_retries=0,
        # A shared session makes all but one of concurrent calls fail.
        autogenerate_session_id=False,
        form_encode_query_params=True,
        tz_mode="aware",
        # The server's text would travel in the cause of our errors, and with it maybe a name.
        show_clickhouse_errors=False,
        settings=dict(_SETTINGS),
    )
