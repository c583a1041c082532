"""File systems that fail, in front of the real one: no room, a quota, a broken or hung disk.

Invariant: whatever they do not refuse is done by the real file system.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edge_gateway.spool import FileSystem
from edge_gateway.spool.filesystem import Bytes

# A test that hangs longer than this has lost its way.
_HANG_S_MAX = 400.0
# Long enough for a thread to come by, short enough for hundreds.
_FLUSH_S = 0.005
# (operation, path) → errno to answer with, or None
Rule = Callable[[str, Path], int | None]


def no_rule(operation: str, path: Path) -> int | None:
    return None


class FailingFileSystem(FileSystem):
    """Asks `rule` before each call that changes something."""

    def __init__(self) -> None:
        self.rule: Rule = no_rule
        self._paths: dict[int, Path] = {}

    def open(self, path: Path, flags: int) -> int:
        if flags & os.O_CREAT:
            self._ask("create", path)
        descriptor = super().open(path, flags)
        self._paths[descriptor] = path
        return descriptor

    def write_at(self, descriptor: int, buffers: Sequence[Bytes], offset_bytes: int) -> None:
        self._ask("write", self._paths[descriptor])
        super().write_at(descriptor, buffers, offset_bytes)

    def flush(self, descriptor: int) -> None:
        self._ask("flush", self._paths[descriptor])
        super().flush(descriptor)

    def flush_directory(self, path: Path) -> None:
        self._ask("flush", path)
        super().flush_directory(path)

    def rename(self, source: Path, target: Path) -> None:
        self._ask("rename", source)
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._ask("unlink", path)
        super().unlink(path)

    def _ask(self, operation: str, path: Path) -> None:
        code = self.rule(operation, path)
        if code is not None:
            raise OSError(code, os.strerror(code), str(path))


class QuotaFileSystem(FileSystem):
    """Files may grow by `room_bytes` together; overwriting needs none, deleting gives back."""

    def __init__(self, room_bytes: int) -> None:
        self._lock = threading.Lock()
        self.room_bytes = room_bytes

    def write_at(self, descriptor: int, buffers: Sequence[Bytes], offset_bytes: int) -> None:
        end_bytes = offset_bytes + sum(len(buffer) for buffer in buffers)
        with self._lock:
            grows_bytes = max(0, end_bytes - self.size_bytes(descriptor))
            if grows_bytes > self.room_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.room_bytes -= grows_bytes
            super().write_at(descriptor, buffers, offset_bytes)

    def unlink(self, path: Path) -> None:
        with self._lock:
            size_bytes = path.stat().st_size
            super().unlink(path)
            self.room_bytes += size_bytes


class SlowFileSystem(FileSystem):
    """Each flush takes a while, as on a disk, wherever the test runs."""

    def flush(self, descriptor: int) -> None:
        super().flush(descriptor)
        threading.Event().wait(_FLUSH_S)


class HangingFileSystem(FileSystem):
    """Flushes wait while `hang` holds them; `flushers` are the threads that flushed."""

    def __init__(self) -> None:
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self.hanging = 0
        self.flushers: list[str] = []

    @contextmanager
    def hang(self) -> Iterator[None]:
        self._may_go_on.clear()
        try:
            yield
        finally:
            self._may_go_on.set()

    def flush(self, descriptor: int) -> None:
        self.flushers.append(threading.current_thread().name)
        if not self._may_go_on.is_set():
            self.hanging += 1
            assert self._may_go_on.wait(_HANG_S_MAX)
        super().flush(descriptor)
