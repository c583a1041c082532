"""An inbox's files: which are complete, and where they go once their end is known.

Invariant: a file leaves the inbox only by `settle`, under a name that was free; one that changed
since it was read stays. Names that begin with a dot are not the inbox's.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from contracts.failures import FatalError

SENT, FAILED, QUARANTINE = ".sent", ".failed", ".quarantine"
REASON_SUFFIX = ".reason.json"
LOCK = ".lock"
# Looked at in one round; what is more waits for the next.
FILES_LOOKED_AT_MAX = 100_000
FOLDER_DEPTH_MAX = 60
_NAMES_TRIED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Signature:
    """What changes when a file is written to or replaced."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Complete:
    """A file that has not changed for as long as was asked."""

    path: Path
    signature: Signature


@dataclass(slots=True)
class InboxFiles:
    """The files below `folder`. `settle_s`: how long one must stay as it is to be complete."""

    folder: Path
    settle_s: float
    _since: dict[Path, tuple[Signature, float]] = field(default_factory=dict)

    def complete(self) -> tuple[list[Complete], int]:
        """What is complete, in name order, and how many files are not yet.

        By our own clock alone: a modality's clock that runs ahead stamps files of the future.
        """
        now_s = time.monotonic()
        seen: dict[Path, tuple[Signature, float]] = {}
        for path in _below(self.folder, 0):
            if len(seen) >= FILES_LOOKED_AT_MAX:
                break
            found = signature_of(path)
            if found is not None:
                known = self._since.get(path)
                seen[path] = known if known and known[0] == found else (found, now_s)
        self._since = seen
        ready = [
            Complete(path, found)
            for path, (found, since_s) in seen.items()
            if now_s - since_s >= self.settle_s
        ]
        return ready, len(seen) - len(ready)

    def has(self, path: Path) -> bool:
        """Whether a file was there at the last look."""
        return path in self._since

    def move(self, file: Complete, to: str, reason: dict[str, str] | None = None) -> bool:
        """Moves a file to `to` below the inbox; False where it has changed and stays.

        A `reason` is written beside it first, so that none lies there without. Raises OSError.
        """
        if signature_of(file.path) != file.signature:
            return False
        target = _free(self.folder / to / file.path.relative_to(self.folder))
        target.parent.mkdir(parents=True, exist_ok=True)
        if reason is not None:
            told = json.dumps(reason, indent=2, ensure_ascii=False) + "\n"
            target.with_name(target.name + REASON_SUFFIX).write_text(told, encoding="utf-8")
        file.path.rename(target)
        return True

    def delete(self, file: Complete) -> bool:
        """Deletes a file; False where it has changed and stays. Raises OSError."""
        if signature_of(file.path) != file.signature:
            return False
        file.path.unlink()
        return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process an inbox. Raises FatalError where there is no folder or another process."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as cause:
        raise FatalError(
            f"opening the inbox {folder}: {cause.strerror}", "name a folder that can be written"
        ) from cause
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise FatalError(
                f"another process watches {folder}", "end it, or watch another folder"
            ) from cause
        yield
    finally:
        os.close(descriptor)


def signature_of(path: Path) -> Signature | None:
    """None for what is gone and for what is no regular file (a link is none: it may lead out)."""
    try:
        status = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Signature(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if not entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)
        elif depth < FOLDER_DEPTH_MAX:
            yield from _below(Path(entry.path), depth + 1)


def _free(target: Path) -> Path:
    for number in range(1, _NAMES_TRIED_MAX):
        name = target.name if number == 1 else f"{target.stem}-{number}{target.suffix}"
        place = target.with_name(name)
        if not place.exists() and not place.with_name(name + REASON_SUFFIX).exists():
            return place
    raise FileExistsError(f"{_NAMES_TRIED_MAX} files are called {target.name}")
