"""The gateway machine's disk: the real file system, and what of it a power loss would leave.

Invariant: what a flush covered is found again after any power loss; of the rest any selection may
be. A process that is killed loses nothing that it wrote. Must not know the spool.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from edge_gateway.spool import FileSystem
from edge_gateway.spool.filesystem import Bytes, DiskSpace
from tests.edge_gateway.spool.tracing import (
    DirectoryFlushed,
    DiskModel,
    Flushed,
    Named,
    Operation,
    Written,
)

DISK_BYTES = 1 << 30


class Killed(BaseException):
    """The process that did this call is no more: not an Exception, as nothing may catch it."""


class SimulatedDisk:
    """Everything under `directory`. `room_bytes` is what files may still grow by."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.room_bytes = DISK_BYTES
        self.model = DiskModel()
        self._files: dict[Path, int] = {}
        self._made = 0

    def note(self, operation: Operation) -> None:
        self.model.apply(operation)

    def file_of(self, path: Path) -> int:
        return self._files[path]

    def make_file(self, path: Path) -> None:
        self._made += 1
        self._files[path] = self._made
        self.note(Named(self._made, path, path.parent))

    def move(self, source: Path, target: Path) -> None:
        self._files[target] = self._files.pop(source)
        self.note(Named(self._files[target], target, target.parent))

    def forget(self, path: Path) -> None:
        self.note(Named(self._files.pop(path), None, path.parent))

    def settle(self) -> None:
        """Time has passed: the machine has flushed everything by itself."""
        for path, file in self._files.items():
            self.note(Flushed(file))
            self.note(DirectoryFlushed(path.parent))

    def lose_power(self, chance: random.Random) -> None:
        """Leaves of what was not flushed a selection, with single writes torn."""
        kept = chance.choice((0.0, 0.5, 1.0))
        writes = [
            part
            for write in self.model.loose_writes
            if chance.random() <= kept
            for part in _maybe_torn(write, chance)
        ]
        names = [named for named in self.model.loose_names if chance.random() <= kept]
        found = self.model.found(writes, names)
        for path in set(self._files) - set(found):
            path.unlink(missing_ok=True)
        for path, content in found.items():
            path.write_bytes(content)
        self.model, self._files = DiskModel(), {}
        for path, content in sorted(found.items()):
            self.make_file(path)
            self.note(Written(self._files[path], 0, content))
            self.note(Flushed(self._files[path]))
            self.note(DirectoryFlushed(path.parent))


def _maybe_torn(write: Written, chance: random.Random) -> list[Written]:
    if chance.random() > 0.5:
        return [write]
    half = chance.randrange(len(write.data) + 1)
    return [Written(write.file, write.offset_bytes, write.data[:half])]


class SimulatedFileSystem(FileSystem):
    """One process's way to the disk. `ends_after`: how many changes more until it is killed."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self._files: dict[int, int] = {}
        self.ends_after: int | None = None
        self.is_ended = False
        # errno for the next flush, or None
        self.flush_error: int | None = None
        # errno for every name that is to change, or None
        self.refuses: int | None = None
        # how the writes that fail begin, and their errno
        self.refused_write: tuple[bytes, int] | None = None

    def open(self, path: Path, flags: int) -> int:
        if flags & os.O_CREAT and not path.exists():
            self._change()
            if self._disk.room_bytes <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            descriptor = super().open(path, flags)
            self._disk.make_file(path)
        else:
            descriptor = super().open(path, flags)
        self._files[descriptor] = self._disk.file_of(path)
        return descriptor

    def close(self, descriptor: int) -> None:
        if self._files.pop(descriptor, None) is not None:
            super().close(descriptor)

    def write_at(self, descriptor: int, buffers: Sequence[Bytes], offset_bytes: int) -> None:
        self._change()
        data = b"".join(bytes(buffer) for buffer in buffers)
        if self.refused_write is not None and data.startswith(self.refused_write[0]):
            raise OSError(self.refused_write[1], os.strerror(self.refused_write[1]))
        grows = max(0, offset_bytes + len(data) - self.size_bytes(descriptor))
        if grows > self._disk.room_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._disk.room_bytes -= grows
        super().write_at(descriptor, buffers, offset_bytes)
        self._disk.note(Written(self._files[descriptor], offset_bytes, data))

    def flush(self, descriptor: int) -> None:
        self._change()
        code, self.flush_error = self.flush_error, None
        if code is not None:
            raise OSError(code, os.strerror(code))
        self._disk.note(Flushed(self._files[descriptor]))

    def flush_directory(self, path: Path) -> None:
        self._change()
        self._disk.note(DirectoryFlushed(path))

    def rename(self, source: Path, target: Path) -> None:
        self._change()
        self._name()
        super().rename(source, target)
        self._disk.move(source, target)

    def unlink(self, path: Path) -> None:
        self._change()
        self._name()
        size_bytes = path.stat().st_size
        super().unlink(path)
        self._disk.room_bytes += size_bytes
        self._disk.forget(path)

    def disk_space(self, path: Path) -> DiskSpace:
        return DiskSpace(max(0, self._disk.room_bytes), DISK_BYTES)

    def end(self) -> None:
        """On return the process has no descriptor and can change nothing any more."""
        self.is_ended = True
        for descriptor in list(self._files):
            self.close(descriptor)

    def _name(self) -> None:
        if self.refuses is not None:
            raise OSError(self.refuses, os.strerror(self.refuses))

    def _change(self) -> None:
        if self.ends_after is not None:
            self.ends_after -= 1
            self.is_ended |= self.ends_after < 0
        if self.is_ended:
            raise Killed


def copy_ledger(path: Path, target: Path, chance: random.Random) -> None:
    """A SQLite database in WAL mode as a power loss may leave it: some first part of its log.

    (The log is not flushed at each commit, `synchronous = NORMAL`; what was folded back is.)
    """
    shutil.copyfile(path, target)
    log = path.with_name(path.name + "-wal")
    if log.exists():
        data = log.read_bytes()
        kept = chance.choice((0, len(data), chance.randrange(len(data) + 1)))
        target.with_name(target.name + "-wal").write_bytes(data[:kept])
