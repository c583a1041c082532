"""The seam to the disk: every call of the spool that changes or reads a file goes through here.

Invariant: each method does exactly its system calls and raises OSError as it came, so that a test
can record the trace, replay a power loss after any prefix, or answer ENOSPC and EIO. Must not
cache, retry or translate.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Bytes = bytes | bytearray | memoryview

# Linux refuses more vectors than this in one call.
_VECTORS_MAX = 1024
# SYNC_FILE_RANGE_WRITE alone: begin to write, wait for nothing. Python has no call for it.
_RANGE_WRITE = 2
CREATE_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL
CREATE = os.O_RDWR | os.O_CREAT
WRITE = os.O_RDWR
READ = os.O_RDONLY


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Room of the file system that holds a path, for a process without privileges."""

    free_bytes: int
    total_bytes: int


def _find_sync_file_range() -> Callable[[int, int, int, int], int] | None:
    try:
        found = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return found


# None where the system is another than Linux.
_sync_file_range = _find_sync_file_range()


class FileSystem:
    """The machine's file system."""

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags, 0o600)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def size_bytes(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_size

    def is_named(self, descriptor: int, path: Path) -> bool:
        """Whether `path` is still this very file: not deleted, not another disk's."""
        try:
            named = os.stat(path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return os.path.samestat(named, os.fstat(descriptor))

    def read_at(self, descriptor: int, length_bytes: int, offset_bytes: int) -> bytes:
        """Up to `length_bytes`; fewer only at the end of the file."""
        data = os.pread(descriptor, length_bytes, offset_bytes)
        while 0 < len(data) < length_bytes:
            more = os.pread(descriptor, length_bytes - len(data), offset_bytes + len(data))
            if not more:
                break
            data += more
        return data

    def write_at(self, descriptor: int, buffers: Sequence[Bytes], offset_bytes: int) -> None:
        """All of `buffers`, one after the other, or an OSError."""
        left = buffers
        while left:
            written = os.pwritev(descriptor, left[:_VECTORS_MAX], offset_bytes)
            offset_bytes += written
            left = _behind(left, written)

    def start_flush(self, descriptor: int, length_bytes: int, offset_bytes: int) -> None:
        """Has the disk begin with these bytes, and waits for nothing; only `flush` proves them.

        A hint, so what it returns is not looked at. What goes wrong meanwhile `flush` tells: this
        call does not wait for the writing, and so takes no error of it away (sync_file_range(2)).
        """
        if _sync_file_range is not None and length_bytes > 0:
            _sync_file_range(descriptor, offset_bytes, length_bytes, _RANGE_WRITE)

    def flush(self, descriptor: int) -> None:
        """On return the file's bytes and its size survive a power loss; its name may not."""
        os.fdatasync(descriptor)

    def flush_directory(self, path: Path) -> None:
        """On return the names in `path` survive a power loss."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def forget_cached(self, descriptor: int) -> None:
        """Asks the kernel to read this file from the disk again, not from memory."""
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def discard(self, path: Path) -> None:
        """On return there is no `path`, whether or not there was."""
        with contextlib.suppress(FileNotFoundError):
            self.unlink(path)

    def make_directory(self, path: Path) -> None:
        """Creates `path` and its parents; no error when it exists."""
        os.makedirs(path, mode=0o700, exist_ok=True)

    def names(self, path: Path) -> list[str]:
        """The names in a directory, sorted; empty when there is no such directory."""
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []

    def file_sizes(self, path: Path) -> list[tuple[str, int]]:
        """Names and sizes in a directory; what vanishes meanwhile is left out."""
        sizes = []
        try:
            with os.scandir(path) as found:
                for item in found:
                    try:
                        sizes.append((item.name, item.stat(follow_symlinks=False).st_size))
                    except FileNotFoundError:
                        continue
        except FileNotFoundError:
            return []
        return sizes

    def disk_space(self, path: Path) -> DiskSpace:
        room = os.statvfs(path)
        return DiskSpace(room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize)


def _behind(buffers: Sequence[Bytes], written: int) -> Sequence[Bytes]:
    """What is left of `buffers` behind their first `written` bytes."""
    for place, buffer in enumerate(buffers):
        if written < len(buffer):
            return [memoryview(buffer).cast("B")[written:], *buffers[place + 1 :]]
        written -= len(buffer)
    return ()
