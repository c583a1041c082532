"""The data set bytes of one delivery, read back and verified.

Invariant: bytes from a segment are verified before any is handed out; bytes from a file of their
own are verified before the last one is, so no whole reading of a wrong data set ever succeeds.
Must not write.
"""

from __future__ import annotations

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from edge_gateway.spool.errors import SpoolCorrupt, SpoolEntryGone
from edge_gateway.spool.filesystem import READ, FileSystem

VERIFY_CHUNK_BYTES = 1024 * 1024


class SpoolBody(ABC):
    """An open data set. Used by one thread; a context manager that closes."""

    size_bytes: int

    @abstractmethod
    def read_at(self, offset_bytes: int, length_bytes: int) -> memoryview:
        """Up to `length_bytes` from there, fewer only at the end.

        From a file of its own the bytes are not verified yet: call `verify` or take `chunks`.
        """

    @abstractmethod
    def chunks(self, chunk_bytes: int) -> Iterator[memoryview]:
        """The whole data set in pieces of `chunk_bytes`, the last one maybe shorter.

        Raises SpoolCorrupt instead of giving the last piece when the bytes are not those that
        were received.
        """

    @abstractmethod
    def stream(self) -> BinaryIO:
        """A seekable reader of its own position over the data set; valid until `close`."""

    def verify(self) -> None:
        """Reads everything once. Raises SpoolCorrupt."""
        for _ in self.chunks(VERIFY_CHUNK_BYTES):
            pass

    @abstractmethod
    def close(self) -> None:
        """Lets go of the file, if there is one."""

    def __enter__(self) -> SpoolBody:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class InlineBody(SpoolBody):
    """A body out of a segment or remnant, whole in memory and already verified."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size_bytes = len(data)

    def read_at(self, offset_bytes: int, length_bytes: int) -> memoryview:
        return memoryview(self._data)[offset_bytes : offset_bytes + length_bytes]

    def chunks(self, chunk_bytes: int) -> Iterator[memoryview]:
        for offset in range(0, self.size_bytes, chunk_bytes):
            yield self.read_at(offset, chunk_bytes)

    def stream(self) -> BinaryIO:
        return io.BytesIO(self._data)

    def close(self) -> None:
        self._data = b""


class ExternalBody(SpoolBody):
    """A body in a file of its own."""

    def __init__(self, fs: FileSystem, path: Path, size_bytes: int, content_sha256: str) -> None:
        self._fs = fs
        self._path = path
        self.size_bytes = size_bytes
        self._content_sha256 = content_sha256
        try:
            self._descriptor = fs.open(path, READ)
        except FileNotFoundError as error:
            raise SpoolEntryGone(f"opening {path.name}: it was purged") from error
        found_bytes = fs.size_bytes(self._descriptor)
        if found_bytes != size_bytes:
            self.close()
            raise SpoolCorrupt(f"opening {path.name}: {found_bytes} bytes, not {size_bytes}")

    def read_at(self, offset_bytes: int, length_bytes: int) -> memoryview:
        return memoryview(self._fs.read_at(self._descriptor, length_bytes, offset_bytes))

    def chunks(self, chunk_bytes: int) -> Iterator[memoryview]:
        summed = hashlib.sha256()
        for offset in range(0, self.size_bytes, chunk_bytes):
            chunk = self.read_at(offset, chunk_bytes)
            summed.update(chunk)
            if offset + chunk_bytes >= self.size_bytes:
                self._require(summed.hexdigest())
            yield chunk

    def stream(self) -> BinaryIO:
        return io.BufferedReader(_DescriptorReader(self))

    def close(self) -> None:
        self._fs.close(self._descriptor)

    def _require(self, found_sha256: str) -> None:
        if found_sha256 != self._content_sha256:
            raise SpoolCorrupt(f"reading {self._path.name}: the bytes are not those received")


class _DescriptorReader(io.RawIOBase):
    """Position and seeking over `read_at`, which leaves the shared descriptor's alone."""

    def __init__(self, body: ExternalBody) -> None:
        self._body = body
        self._position_bytes = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._body.read_at(self._position_bytes, len(buffer))
        buffer[: len(data)] = data
        self._position_bytes += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position_bytes, io.SEEK_END: 0}[whence]
        if whence == io.SEEK_END:
            base = self._body.size_bytes
        self._position_bytes = max(0, base + offset)
        return self._position_bytes

    def tell(self) -> int:
        return self._position_bytes
