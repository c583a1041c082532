"""The bytes of a data set that is too long for a segment, in a file of its own.

Invariant: until its record is flushed the file has the name of an unfinished one, so that recovery
knows an orphan. Used by one thread. Must not translate what the disk says.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_gateway.spool.filesystem import CREATE_NEW, Bytes, FileSystem
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.limits import MIB

# The disk works while more comes. From the last byte to the end of the flush, 64 MiB took 34 ms
# and take 5; 16 MiB from the first byte on 29 to 43 ms, and now 23 to 26.
_STEP_BYTES = MIB


class ObjectFile:
    """A new file, open until `flush` or `drop`. All raise OSError as it came."""

    def __init__(self, fs: FileSystem, layout: SpoolLayout, delivery_id: str) -> None:
        self._fs = fs
        self._directory = layout.objects
        self._path = layout.unfinished_object(delivery_id)
        self._descriptor: int | None = fs.open(self._path, CREATE_NEW)
        self._size_bytes = 0
        self._begun_bytes = 0

    def write(self, buffers: Sequence[Bytes]) -> None:
        """Appends them; the disk may begin with what is there."""
        assert self._descriptor is not None
        self._fs.write_at(self._descriptor, buffers, self._size_bytes)
        self._size_bytes += sum(map(len, buffers))
        end_bytes = self._size_bytes // _STEP_BYTES * _STEP_BYTES
        if end_bytes > self._begun_bytes:
            length_bytes = end_bytes - self._begun_bytes
            self._fs.start_flush(self._descriptor, length_bytes, self._begun_bytes)
            self._begun_bytes = end_bytes

    def flush(self) -> None:
        """On return bytes and name survive a power loss, and the file is closed."""
        assert self._descriptor is not None
        self._fs.flush(self._descriptor)
        self._close()
        self._fs.flush_directory(self._directory)

    def drop(self) -> None:
        """On return there is no such file."""
        self._close()
        self._fs.unlink(self._path)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._fs.close(descriptor)
