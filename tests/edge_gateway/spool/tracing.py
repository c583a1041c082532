"""A file system that notes every change, and the directories that a power loss can leave.

Invariant: the model is weaker than any journaling file system: a write that was not flushed may be
there, missing or torn whatever came after it, and a name that was not flushed may be there or not.
Only a rename is all or nothing, as journals make it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from edge_gateway.spool import FileSystem
from edge_gateway.spool.filesystem import Bytes


@dataclass(frozen=True, slots=True)
class Named:
    """A file got this name, its only one, or lost it (None); settled by a flush of `directory`."""

    file: int
    path: Path | None
    directory: Path


@dataclass(frozen=True, slots=True)
class Written:
    file: int
    offset_bytes: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Flushed:
    file: int


@dataclass(frozen=True, slots=True)
class DirectoryFlushed:
    path: Path


@dataclass(frozen=True, slots=True)
class Told:
    """Not a change of the disk: something that the outside world was told at this moment."""

    what: str
    delivery_id: str


Change = TypeVar("Change")
Operation = Named | Written | Flushed | DirectoryFlushed | Told


class TracingFileSystem(FileSystem):
    """The real file system; one call at a time, so that the trace is the order of effects."""

    def __init__(self) -> None:
        self.trace: list[Operation] = []
        self._lock = threading.RLock()
        self._files: dict[Path, int] = {}
        self._by_descriptor: dict[int, int] = {}

    def tell(self, what: str, delivery_id: str) -> None:
        with self._lock:
            self.trace.append(Told(what, delivery_id))

    def open(self, path: Path, flags: int) -> int:
        with self._lock:
            is_new = not path.exists()
            descriptor = super().open(path, flags)
            if flags & os.O_CREAT and is_new:
                self._files[path] = len(self.trace)
                self.trace.append(Named(len(self.trace), path, path.parent))
            self._by_descriptor[descriptor] = self._files[path]
            return descriptor

    def write_at(self, descriptor: int, buffers: Sequence[Bytes], offset_bytes: int) -> None:
        with self._lock:
            super().write_at(descriptor, buffers, offset_bytes)
            data = b"".join(bytes(buffer) for buffer in buffers)
            self.trace.append(Written(self._by_descriptor[descriptor], offset_bytes, data))

    def flush(self, descriptor: int) -> None:
        with self._lock:
            super().flush(descriptor)
            self.trace.append(Flushed(self._by_descriptor[descriptor]))

    def flush_directory(self, path: Path) -> None:
        with self._lock:
            super().flush_directory(path)
            self.trace.append(DirectoryFlushed(path))

    def rename(self, source: Path, target: Path) -> None:
        with self._lock:
            super().rename(source, target)
            self._files[target] = self._files.pop(source)
            self.trace.append(Named(self._files[target], target, target.parent))

    def unlink(self, path: Path) -> None:
        with self._lock:
            super().unlink(path)
            self.trace.append(Named(self._files.pop(path), None, path.parent))


@dataclass
class DiskModel:
    """What is certainly on the disk after a prefix of a trace, and what only may be."""

    contents: dict[int, bytearray] = field(default_factory=dict)
    names: dict[int, Path | None] = field(default_factory=dict)
    loose_writes: list[Written] = field(default_factory=list)
    loose_names: list[Named] = field(default_factory=list)

    def apply(self, operation: Operation) -> None:
        match operation:
            case Written():
                self.loose_writes = [*_not_outdated(self.loose_writes, operation), operation]
            case Flushed():
                for write in self.loose_writes:
                    if write.file == operation.file:
                        _put(self.contents.setdefault(write.file, bytearray()), write)
                self.loose_writes = [w for w in self.loose_writes if w.file != operation.file]
            case Named():
                self.loose_names.append(operation)
            case DirectoryFlushed():
                self._settle(operation.path)
            case Told():
                pass

    def power_losses(self) -> Iterator[dict[Path, bytes]]:
        """The directories that may be found afterwards: path → content."""
        writes, names = self.loose_writes, self.loose_names
        for some_writes in [*_selections(writes), *_torn(writes)]:
            yield self.found(some_writes, [])
            yield self.found(some_writes, names)
        for some_names in _selections(names):
            yield self.found([], some_names)
            yield self.found(writes, some_names)

    def _settle(self, directory: Path) -> None:
        """The last change that this directory flush covers settles the file's earlier ones too."""
        last = {
            change.file: (place, change.path)
            for place, change in enumerate(self.loose_names)
            if change.directory == directory
        }
        self.names.update({file: path for file, (_, path) in last.items()})
        self.loose_names = [
            change
            for place, change in enumerate(self.loose_names)
            if place > last.get(change.file, (-1, None))[0]
        ]

    def found(self, writes: Sequence[Written], changes: Sequence[Named]) -> dict[Path, bytes]:
        """The directory with these of the loose changes: path → content."""
        names = dict(self.names)
        names.update({change.file: change.path for change in changes})
        contents = {file: self.contents.get(file, bytearray()) for file, p in names.items() if p}
        for write in writes:
            if write.file in contents:
                contents[write.file] = bytearray(contents[write.file])
                _put(contents[write.file], write)
        # Where a rename replaced a file, the later one has the name.
        return {path: bytes(contents[file]) for file, path in sorted(names.items()) if path}


def _put(content: bytearray, write: Written) -> None:
    missing = write.offset_bytes - len(content)
    if missing > 0:
        content += bytes(missing)
    content[write.offset_bytes : write.offset_bytes + len(write.data)] = write.data


def _not_outdated(loose: Sequence[Written], new: Written) -> list[Written]:
    """Of loose writes to one place only the last is kept beside a new one, or a place that is
    never flushed (the mark) would multiply the cases.
    """
    same = [w for w in loose if (w.file, w.offset_bytes) == (new.file, new.offset_bytes)]
    return [w for w in loose if w not in same[:-1]]


def _selections(loose: Sequence[Change]) -> list[list[Change]]:
    """None, all, each one alone, and all but each one."""
    alone = [[change] for change in loose]
    but_one = [[*loose[:i], *loose[i + 1 :]] for i in range(len(loose))]
    return [[], list(loose), *alone, *but_one]


def _torn(loose: Sequence[Written]) -> list[list[Written]]:
    """Everything, with one write stopped in its middle or begun in it."""
    cases = []
    for i, write in enumerate(loose):
        half = len(write.data) // 2
        front = Written(write.file, write.offset_bytes, write.data[:half])
        back = Written(write.file, write.offset_bytes + half, write.data[half:])
        cases += [[*loose[:i], part, *loose[i + 1 :]] for part in (front, back)]
    return cases
