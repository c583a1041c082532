"""What engines say when they fail, as bytes: S3's and ClickHouse's errors, and whom they hit."""

from __future__ import annotations

from collections.abc import Callable

from tests.faults.http_proxy import BODY_START_BYTES, Request


def _s3_error(status: str, code: str) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>not now</Message></Error>"
    return f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\n\r\n{body}".encode()


def _clickhouse_error(code: int, name: str) -> bytes:
    head = f"HTTP/1.1 500 Internal Server Error\r\nX-ClickHouse-Exception-Code: {code}"
    return f"{head}\r\nContent-Type: text/plain\r\n\r\nCode: {code}. DB::Exception: {name}".encode()


S3_ERRORS = (
    _s3_error("500 Internal Server Error", "InternalError"),
    _s3_error("503 Service Unavailable", "ServiceUnavailable"),
    _s3_error("503 Slow Down", "SlowDown"),
)
# What a store says of an object that it never takes, and what a proxy before it says.
TOO_LARGE = (
    _s3_error("400 Bad Request", "EntityTooLarge"),
    b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: text/html\r\n\r\n<html>413</html>",
)
TABLE_IS_READ_ONLY = (_clickhouse_error(242, "TABLE_IS_READ_ONLY"),)


def is_upload(request: Request) -> bool:
    """An object's bytes on their way to a store."""
    return request.method == "PUT" and request.has_body


def is_download(request: Request) -> bool:
    """A pack's bytes on their way from a store."""
    return request.method == "GET" and "/packs/" in request.target


def is_insert(request: Request) -> bool:
    """Rows on their way to an index, whose body begins with the statement."""
    return request.method == "POST" and b"INSERT INTO" in request.body_start[:BODY_START_BYTES]


def is_upload_above(size_bytes: int) -> Callable[[Request], bool]:
    """Such bytes where they are more than `size_bytes`."""
    return lambda request: is_upload(request) and request.size_bytes > size_bytes
