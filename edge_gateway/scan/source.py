"""Where the scan's bytes come from: memory, a seekable file, or a deflated stream of either.

Invariant: at most one window is held beside the caller's own buffer, however long the data set.
It must not know what the bytes mean.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import BinaryIO, Protocol

from edge_gateway.scan.limits import KIB, HeaderReason, ScanStop

# Holds a whole CT header (20 KiB) with room to spare; PixelData is stepped over, not read.
WINDOW_BYTES = 128 * KIB
# `end` of a stream whose length shows only when it is over.
END_UNKNOWN = 1 << 62


class ByteSource(Protocol):
    """Random access by position; forward access is what is cheap."""

    end: int

    def window(self, start: int, need: int, ahead: int = WINDOW_BYTES) -> tuple[bytes, int]:
        """A buffer and the position of its first byte, so that `start` lies in it.

        It holds `need` bytes from `start` unless the data ends before; `ahead` is how much is
        worth reading where that costs something.
        Raises ScanStop (inflate_limit, malformed) and whatever the caller's file raises.
        """
        ...


class WholeBuffer:
    """Bytes that are in memory already: one window, no copy."""

    def __init__(self, data: bytes, size_bytes: int) -> None:
        self._data = data if size_bytes >= len(data) else data[:size_bytes]
        self.end = len(self._data)

    def window(self, start: int, need: int, ahead: int = WINDOW_BYTES) -> tuple[bytes, int]:
        return self._data, 0


class ViewWindows:
    """A memoryview, copied window by window: elements are dict keys and so must be bytes."""

    def __init__(self, view: memoryview, size_bytes: int) -> None:
        self._view = view.cast("B")
        self.end = min(size_bytes, len(self._view))

    def window(self, start: int, need: int, ahead: int = WINDOW_BYTES) -> tuple[bytes, int]:
        stop = min(self.end, start + max(need, ahead))
        return bytes(self._view[start:stop]), start


class FileWindows:
    """A seekable binary file whose current position is the data set's first byte."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._origin = file.tell()
        self.end = size_bytes

    def window(self, start: int, need: int, ahead: int = WINDOW_BYTES) -> tuple[bytes, int]:
        wanted = min(max(need, ahead), max(0, self.end - start))
        self._file.seek(self._origin + start)
        pieces: list[bytes] = []
        while wanted > 0:
            piece = self._file.read(wanted)
            if not piece:
                # The file is shorter than its entry says; what is missing is truncated.
                self.end = start + sum(map(len, pieces))
                break
            pieces.append(piece)
            wanted -= len(piece)
        return b"".join(pieces), start


class InflatedWindows:
    """A deflated data set (PS3.5 A.5), inflated as far as it is asked for and never beyond a cap.

    Going back starts again from the beginning, so callers go forward; the cap counts each pass.
    """

    def __init__(self, compressed: ByteSource, inflate_bytes_max: int) -> None:
        self._compressed = compressed
        self._bytes_max = inflate_bytes_max
        self.end = END_UNKNOWN
        self._restart()

    def _restart(self) -> None:
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._read_at = 0
        self._base = 0
        self._buffer = b""

    def window(self, start: int, need: int, ahead: int = WINDOW_BYTES) -> tuple[bytes, int]:
        if start < self._base:
            self._restart()
        while self._base + len(self._buffer) < start + need:
            piece = self._inflate(WINDOW_BYTES)
            if not piece:
                self.end = self._base + len(self._buffer)
                break
            self._keep_from(start, piece)
        return self._buffer, self._base

    def _keep_from(self, start: int, piece: bytes) -> None:
        drop = min(max(0, start - self._base), len(self._buffer))
        self._base += drop
        self._buffer = self._buffer[drop:] + piece
        if self._base + len(self._buffer) > self._bytes_max:
            raise ScanStop(HeaderReason.INFLATE_LIMIT)

    def _inflate(self, length: int) -> bytes:
        while not self._inflater.eof:
            given = self._inflater.unconsumed_tail or self._next_compressed()
            try:
                piece = self._inflater.decompress(given, length)
            except zlib.error as error:
                raise ScanStop(HeaderReason.MALFORMED) from error
            if piece:
                return piece
            if not given:
                return b""
        return b""

    def _next_compressed(self) -> bytes:
        buffer, base = self._compressed.window(self._read_at, WINDOW_BYTES)
        piece = buffer[self._read_at - base : self._read_at - base + WINDOW_BYTES]
        self._read_at += len(piece)
        return piece


def open_source(read: bytes | memoryview | BinaryIO, size_bytes: int) -> ByteSource:
    """The source over what the caller has; `size_bytes` is the data set's encoded length."""
    if isinstance(read, bytes):
        return WholeBuffer(read, size_bytes)
    if isinstance(read, memoryview):
        return ViewWindows(read, size_bytes)
    return FileWindows(read, size_bytes)


def sha256_hex(source: ByteSource, start: int, length: int) -> str:
    """SHA-256 in lowercase hex of `length` bytes from `start`. Raises ScanStop (truncated)."""
    digest = hashlib.sha256()
    stop = start + length
    while start < stop:
        buffer, base = source.window(start, min(stop - start, WINDOW_BYTES))
        piece = memoryview(buffer)[start - base : stop - base]
        if not piece:
            raise ScanStop(HeaderReason.TRUNCATED)
        digest.update(piece)
        start += len(piece)
    return digest.hexdigest()
