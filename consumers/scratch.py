"""Files that a writer needs for a moment, in its process's own scratch directory.

Invariant: nothing outlives a batch, and what a killed process left is gone at the next start; a
full disk is a failure that may heal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from contracts.failures import RetryableError


class Scratch:
    """One process's scratch directory, emptied when this is made."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with _disk_may_heal("emptying the scratch directory"):
            directory.mkdir(parents=True, exist_ok=True)
            for leftover in directory.iterdir():
                leftover.unlink()

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """A path to write to; the file is gone after the block, however it ends."""
        path = self._directory / name
        try:
            with _disk_may_heal("writing to the scratch directory"):
                yield path
        finally:
            path.unlink(missing_ok=True)

    def fill(self, path: Path, data: Iterable[bytes]) -> str:
        """Writes `data` to `path` and gives its sha256."""
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for chunk in data:
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()


def read_range(file: BinaryIO, offset_bytes: int, length_bytes: int) -> bytes:
    """A range of a file, shorter only where the file ends."""
    file.seek(offset_bytes)
    return file.read(length_bytes)


@contextmanager
def _disk_may_heal(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise RetryableError(f"{doing}: {cause.strerror or type(cause).__name__}") from cause
