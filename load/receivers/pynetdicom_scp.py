"""A stock pynetdicom storage SCP as a measured receiver, without and with a flush of each file.

Invariant: it runs in a process of its own and shares nothing with the gateway but the library.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from load.receivers.process import (
    OwnProcess,
    ProcessReceiver,
    free_ports,
    own_process,
    remove_files,
)
from load.senders.model import Target

PROGRAM = "load.receivers.programs.pynetdicom_store"
AE_TITLE = "PYNETDICOM"


class RunningPynetdicom(ProcessReceiver):
    """A pynetdicom process that writes files."""

    def __init__(self, process: OwnProcess, target: Target, objects: Path) -> None:
        super().__init__(process, target)
        self._objects = objects

    def clear(self) -> None:
        """Deletes the files it wrote."""
        remove_files(self._objects)


def version() -> str | None:
    """The distribution's; None when it is not installed."""
    try:
        return metadata.version("pynetdicom")
    except metadata.PackageNotFoundError:
        return None


@contextmanager
def run_pynetdicom(directory: Path) -> Iterator[RunningPynetdicom]:
    """Files are written and not flushed."""
    with _running(directory, ()) as running:
        yield running


@contextmanager
def run_pynetdicom_flush(directory: Path) -> Iterator[RunningPynetdicom]:
    """Each file is flushed before the answer; its name in the directory is not."""
    with _running(directory, ("--flush",)) as running:
        yield running


@contextmanager
def _running(directory: Path, options: tuple[str, ...]) -> Iterator[RunningPynetdicom]:
    objects = directory / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    target = Target("127.0.0.1", port, AE_TITLE)
    command = [sys.executable, "-m", PROGRAM, "--port", str(port)]
    command += ["--ae-title", AE_TITLE, "--directory", str(objects), *options]
    try:
        with own_process("pynetdicom", command, directory) as process:
            running = RunningPynetdicom(process, target, objects)
            running.wait_for_echo()
            yield running
    finally:
        shutil.rmtree(objects, ignore_errors=True)
