"""A stock pynetdicom storage SCP as a measured receiver, without and with a flush of each file.

Invariant: it runs in a process of its own and shares nothing with the gateway but the library.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from load.receivers.process import FilesReceiver, files_receiver

PROGRAM = "load.receivers.programs.pynetdicom_store"
AE_TITLE = "PYNETDICOM"


def version() -> str | None:
    """The distribution's; None when it is not installed."""
    try:
        return metadata.version("pynetdicom")
    except metadata.PackageNotFoundError:
        return None


@contextmanager
def run_pynetdicom(directory: Path) -> Iterator[FilesReceiver]:
    """Files are written and not flushed."""
    with _running(directory, ()) as running:
        yield running


@contextmanager
def run_pynetdicom_flush(directory: Path) -> Iterator[FilesReceiver]:
    """Each file is flushed before the answer; its name in the directory is not."""
    with _running(directory, ("--flush",)) as running:
        yield running


@contextmanager
def _running(directory: Path, options: tuple[str, ...]) -> Iterator[FilesReceiver]:
    def command(port: int, objects: Path) -> Sequence[str]:
        where = ("--port", str(port), "--ae-title", AE_TITLE, "--directory", str(objects))
        return (sys.executable, "-m", PROGRAM, *where, *options)

    with files_receiver("pynetdicom", AE_TITLE, directory, command) as running:
        yield running
