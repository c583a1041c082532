"""Reads one HTTP request body whole, decompressed and bounded, before the engine sees a byte.

Invariant: an insert starts only when all of its bytes are here, so a sender that dies in
mid-body changes nothing. It must not interpret the bytes.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import IO, Any, Protocol

import zstandard

lz4_frame: Any = None
# clickhouse-connect brings it on some Pythons, and sends lz4 only there.
with suppress(ImportError):
    lz4_frame = import_module("lz4.frame")

REQUEST_BYTES_MAX = 1 << 30
# Larger bodies go to a file: eight inserts side by side then hold 256 MiB at most.
SPOOL_MEMORY_BYTES = 32 << 20
READ_BYTES = 1 << 20
_CHUNK_LINE_BYTES_MAX = 1024


class BodyError(Exception):
    """The body cannot be read: broken framing, broken compression, or too large."""


class BodyTooLarge(BodyError):
    """The body passes REQUEST_BYTES_MAX, compressed or not."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def readline(self, size: int, /) -> bytes: ...


class _Decoder(Protocol):
    def decode(self, data: bytes) -> Iterator[bytes]: ...
    def is_complete(self) -> bool: ...


class RequestBody:
    """The decoded body; `chunks()` may be read again and again until `close()`."""

    def __init__(self, spool: IO[bytes], size_bytes: int) -> None:
        self._spool = spool
        self._start = 0
        self.size_bytes = size_bytes

    def head(self, size_bytes: int) -> bytes:
        """Its first bytes, `size_bytes` of them or fewer."""
        self._spool.seek(self._start)
        return self._spool.read(size_bytes)

    def skip(self, size_bytes: int) -> None:
        """Takes `size_bytes` off its start, for every later read."""
        self._start += size_bytes
        self.size_bytes -= size_bytes

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces of at most READ_BYTES, from its start."""
        self._spool.seek(self._start)
        while data := self._spool.read(READ_BYTES):
            yield data

    def close(self) -> None:
        """Frees memory and file."""
        self._spool.close()


def receive_body(
    stream: _Readable, length: str | None, transfer: str | None, encoding: str | None
) -> RequestBody:
    """Read, decode and spool the body whose headers are given (RFC 9112 6, RFC 9110 8.4).

    Raises BodyError when it is torn, badly encoded or larger than REQUEST_BYTES_MAX.
    """
    decoder = _decoder((encoding or "identity").strip().lower())
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY_BYTES)  # noqa: SIM115
    size_bytes = 0
    try:
        for wire in _wire_chunks(stream, length, transfer):
            for data in decoder.decode(wire):
                size_bytes += len(data)
                if size_bytes > REQUEST_BYTES_MAX:
                    raise BodyTooLarge(f"request body of more than {REQUEST_BYTES_MAX} bytes")
                spool.write(data)
        if not decoder.is_complete():
            raise BodyError("compressed request body ends too early")
    except (zlib.error, zstandard.ZstdError, RuntimeError) as error:
        spool.close()
        raise BodyError(f"decoding a request body: {error}") from error
    except BaseException:
        spool.close()
        raise
    return RequestBody(spool, size_bytes)


def _wire_chunks(stream: _Readable, length: str | None, transfer: str | None) -> Iterator[bytes]:
    if transfer and transfer.strip().lower() == "chunked":
        yield from _dechunk(stream)
        return
    if transfer:
        raise BodyError(f"transfer encoding {transfer!r} is not served")
    if length is None:
        return
    if not length.strip().isdigit():
        raise BodyError("Content-Length is not a number")
    if int(length) > REQUEST_BYTES_MAX:
        raise BodyTooLarge(f"request body of more than {REQUEST_BYTES_MAX} bytes")
    yield from _exactly(stream, int(length))


def _dechunk(stream: _Readable) -> Iterator[bytes]:
    while True:
        line = stream.readline(_CHUNK_LINE_BYTES_MAX)
        try:
            size_bytes = int(line.split(b";")[0].strip(), 16)
        except ValueError as error:
            raise BodyError("chunk size is not a number") from error
        if size_bytes < 0:
            raise BodyError("chunk size is not a number")
        yield from _exactly(stream, size_bytes)
        if size_bytes == 0:
            _skip_trailers(stream)
            return
        if stream.readline(_CHUNK_LINE_BYTES_MAX) not in (b"\r\n", b"\n"):
            raise BodyError("chunk does not end with a line end")


def _skip_trailers(stream: _Readable) -> None:
    while stream.readline(_CHUNK_LINE_BYTES_MAX) not in (b"\r\n", b"\n", b""):
        pass


def _exactly(stream: _Readable, size_bytes: int) -> Iterator[bytes]:
    left = size_bytes
    while left:
        data = stream.read(min(left, READ_BYTES))
        if not data:
            raise BodyError("connection closed in mid-body")
        left -= len(data)
        yield data


def _decoder(encoding: str) -> _Decoder:
    if encoding in ("identity", ""):
        return _Identity()
    if encoding in ("gzip", "deflate"):
        return _Frames(lambda: zlib.decompressobj(wbits=47))
    if encoding == "zstd":
        return _Frames(lambda: zstandard.ZstdDecompressor().decompressobj())
    if encoding == "lz4" and lz4_frame is not None:
        return _Frames(lz4_frame.LZ4FrameDecompressor)
    raise BodyError(f"content encoding {encoding!r} is not served")


class _Identity:
    def decode(self, data: bytes) -> Iterator[bytes]:
        yield data

    def is_complete(self) -> bool:
        return True


class _OneFrame(Protocol):
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class _FrameMaker(Protocol):
    def __call__(self) -> _OneFrame: ...


class _Frames:
    """A run of compressed frames: clickhouse-connect sends one for each block."""

    def __init__(self, new_frame: _FrameMaker) -> None:
        self._new_frame = new_frame
        self._frame: _OneFrame | None = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        # Small slices bound what one call can inflate to (a deflate bomb is about 1000:1).
        for start in range(0, len(data), 1 << 16):
            rest = data[start : start + (1 << 16)]
            while rest:
                frame = self._frame = self._frame or self._new_frame()
                yield frame.decompress(rest)
                rest = getattr(frame, "unused_data", b"") if frame.eof else b""
                if frame.eof:
                    self._frame = None

    def is_complete(self) -> bool:
        return self._frame is None
