"""Reads one HTTP request of ClickHouse's protocol into a statement, a session and its data.

Invariant: what is not served is refused with ClickHouse's own error code, never ignored, but
for `session_id`: clickhouse-connect sends one unasked, and no request here depends on another.
It must not run anything.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from urllib.parse import parse_qsl, urlsplit

from infra.engines.clickhouse_body import RequestBody
from infra.engines.clickhouse_engine import (
    CODE_AUTHENTICATION_FAILED,
    CODE_NOT_IMPLEMENTED,
    CODE_SYNTAX_ERROR,
    CODE_TOO_LARGE,
    EngineError,
    Progress,
    Session,
)
from infra.engines.clickhouse_sql import Kind, Statement, StatementError, split_statement

# A statement is held in memory several times; inserted data is not a statement.
STATEMENT_BYTES_MAX = 64 << 20
# How far to look for the data behind `INSERT … FORMAT name` in a body.
INSERT_HEAD_BYTES_MAX = 1 << 20
QUERY_FIELDS_MAX = 2000

_NOT_SETTINGS = frozenset(
    (
        *("query", "query_id", "database", "default_format", "user", "password", "role"),
        *("session_id", "session_timeout", "session_check", "close_session", "quota_key"),
        *("wait_end_of_query", "buffer_size", "compress", "decompress", "stacktrace"),
        "client_protocol_version",
    )
)


def _statuses() -> Iterable[tuple[int, int]]:
    yield from ((code, 400) for code in (6, 26, 27, 36, 38, 41, 43, 53, 62, 117, 457))
    yield from ((code, 404) for code in (46, 47, 50, 56, 60, 73, 81, 115))
    yield from ((code, 403) for code in (164, 497, CODE_AUTHENTICATION_FAILED))
    yield from ((CODE_NOT_IMPLEMENTED, 501), (CODE_TOO_LARGE, 413))


# As a server maps its codes; any other one is 500. Clients decide by the code, not by this.
HTTP_STATUS: Mapping[int, int] = dict(_statuses())


@dataclass(frozen=True)
class Request:
    """One statement with all it needs; `data` stays open until the answer has left."""

    statement: Statement
    session: Session
    output: str
    query_id: str
    data: RequestBody | None


def read_request(
    target: str, headers: Message, body: RequestBody, forced_settings: Mapping[str, str]
) -> Request:
    """The request behind `target` (path and query string), `headers` and the decoded `body`.

    Raises EngineError for what a server would refuse and for what this one does not serve.
    """
    query = dict(
        parse_qsl(urlsplit(target).query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    )
    content_type = headers.get("Content-Type", "")
    data: RequestBody | None = None
    if content_type.startswith("multipart/form-data"):
        query |= _form_fields(content_type, body)
        statement = _split(query.get("query", "").encode())
    else:
        statement, data = _statement(query.get("query", ""), body)
    _authenticate(headers, query)
    _refuse_unserved(query)
    output = query.get("default_format", "TabSeparated")
    session = _session(query, forced_settings)
    return Request(statement, session, output, query.get("query_id") or str(uuid.uuid4()), data)


def summary(progress: Progress, started_ns: int) -> str:
    """X-ClickHouse-Summary: numbers as JSON strings, as a server writes them."""
    counts = vars(progress) | {"elapsed_ns": time.monotonic_ns() - started_ns}
    return json.dumps({name: str(count) for name, count in counts.items()})


def _statement(in_target: str, body: RequestBody) -> tuple[Statement, RequestBody | None]:
    """The statement may stand in the target with data in the body, or all of it in the body."""
    if in_target:
        statement = _split(in_target.encode())
        if statement.kind is Kind.INSERT_DATA:
            return statement, body
        # INSERT … VALUES with its rows in the body, or a statement cut in two: one text again.
        if body.size_bytes:
            statement = _split(in_target.encode() + b"\n" + _bounded(body))
        return statement, None
    head = body.head(INSERT_HEAD_BYTES_MAX)
    if head.lstrip()[:6].upper() == b"INSERT":
        statement = _split(head)
        if statement.kind is Kind.INSERT_DATA:
            body.skip(len(head) - len(statement.data))
            return Statement(statement.kind, statement.text, statement.format), body
    return _split(_bounded(body)), None


def _bounded(body: RequestBody) -> bytes:
    if body.size_bytes > STATEMENT_BYTES_MAX:
        raise EngineError(CODE_TOO_LARGE, f"statement of more than {STATEMENT_BYTES_MAX} bytes")
    return body.read()


def _split(sql: bytes) -> Statement:
    try:
        return split_statement(sql)
    except StatementError as error:
        raise EngineError(CODE_SYNTAX_ERROR, str(error)) from error


def _session(query: Mapping[str, str], forced_settings: Mapping[str, str]) -> Session:
    params = {name[6:]: value for name, value in query.items() if name.startswith("param_")}
    settings = {
        name: value
        for name, value in query.items()
        if name not in _NOT_SETTINGS and not name.startswith("param_")
    }
    ordered = tuple(sorted((settings | dict(forced_settings)).items()))
    return Session(query.get("database", ""), ordered, params)


def _form_fields(content_type: str, body: RequestBody) -> dict[str, str]:
    """Query and parameters too long for a target come as form fields (RFC 7578)."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    fields: dict[str, str] = {}
    for part in BytesParser().parsebytes(head + _bounded(body)).walk():
        if part.get_filename():
            raise EngineError(CODE_NOT_IMPLEMENTED, "external data is not served")
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str):
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            fields[name] = payload.decode("utf-8", "replace")
    return fields


def _refuse_unserved(query: Mapping[str, str]) -> None:
    for name in ("compress", "decompress"):
        if query.get(name, "0") not in ("0", "", "false"):
            raise EngineError(CODE_NOT_IMPLEMENTED, f"{name}={query[name]} is not served")


def _authenticate(headers: Message, query: Mapping[str, str]) -> None:
    user, password = _credentials(headers, query)
    if user != "default" or password:
        raise EngineError(
            CODE_AUTHENTICATION_FAILED,
            f"{user}: Authentication failed: password is incorrect, or there is no user with "
            "such name. (AUTHENTICATION_FAILED)",
        )


def _credentials(headers: Message, query: Mapping[str, str]) -> tuple[str, str]:
    user = headers.get("X-ClickHouse-User")
    if user is not None:
        return user, headers.get("X-ClickHouse-Key", "")
    authorization = headers.get("Authorization", "")
    if authorization.startswith("Basic "):
        try:
            text = base64.b64decode(authorization[6:]).decode()
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return text.partition(":")[0], text.partition(":")[2]
    return query.get("user", "default"), query.get("password", "")
