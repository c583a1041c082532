"""New files for certificates and keys.

Invariant: no file that exists is ever written, each is readable by its owner only, and a run that
fails leaves none of its files behind.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from contracts.failures import FatalError

_FILE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@contextlib.contextmanager
def all_or_nothing(directory: Path) -> Iterator[list[Path]]:
    """Makes the directory and gives the list for `write_new`; on any fault its files go again."""
    written: list[Path] = []
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as cause:
        raise FatalError(f"making {directory}: {cause.strerror}", "name another one") from cause
    with contextlib.ExitStack() as undo:
        undo.callback(_remove, written)
        yield written
        undo.pop_all()


def _remove(written: list[Path]) -> None:
    for path in written:
        path.unlink(missing_ok=True)


def file_name(name: str) -> str:
    """`name` as a part of a file's name. Raises FatalError for what is no plain word."""
    plain = name.strip().replace(" ", "_")
    if not _FILE_NAME.fullmatch(plain):
        raise FatalError(f"{name!r} is no name for a file", "use letters, digits, . _ and -")
    return plain


def write_new(path: Path, data: bytes, written: list[Path]) -> None:
    """Writes a file that must not exist, for its owner only, and notes it. Raises FatalError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        written.append(path)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except FileExistsError as cause:
        raise FatalError(
            f"{path} exists and is not overwritten", "name another directory with --dir"
        ) from cause
    except OSError as cause:
        raise FatalError(f"writing {path}: {cause.strerror}", "name another directory") from cause
