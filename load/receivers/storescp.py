"""DCMTK's storescp as a measured receiver: a process for each association, one file an instance.

Invariant: options as its manual gives them, nothing tuned. It never flushes, so an acknowledged
instance may be lost with the power.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.failures import FatalError
from load.receivers.process import (
    OwnProcess,
    ProcessReceiver,
    first_line,
    free_ports,
    own_process,
    remove_files,
)
from load.senders.model import Target
from operations.peers import find

PROGRAM = "storescp"
PACKAGE = "dcmtk"
AE_TITLE = "STORESCP"


class RunningStorescp(ProcessReceiver):
    """A listening storescp and the children of its associations."""

    def __init__(self, process: OwnProcess, target: Target, objects: Path) -> None:
        super().__init__(process, target)
        self._objects = objects

    def clear(self) -> None:
        """Deletes the files it wrote."""
        remove_files(self._objects)


def version() -> str | None:
    """As the program says it; None when it is not installed."""
    return dcmtk_version(PROGRAM)


def dcmtk_version(program: str) -> str | None:
    """The release of one of DCMTK's programs: "3.6.7 2022-04-22"."""
    line = first_line([program, "--version"])
    # "$dcmtk: storescp v3.6.7 2022-04-22 $"
    return line.strip("$ ").split(" v", 1)[-1] if line else None


@contextmanager
def run_storescp(directory: Path) -> Iterator[RunningStorescp]:
    """`storescp --fork` that accepts every transfer syntax it knows."""
    program = find(PROGRAM)
    if program is None:
        raise FatalError("storescp is not installed", f"apt-get install {PACKAGE}")
    objects = directory / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    command = [program, "--fork", "+xa", "-aet", AE_TITLE, "-od", str(objects), str(port)]
    try:
        with own_process(PROGRAM, command, directory) as process:
            running = RunningStorescp(process, Target("127.0.0.1", port, AE_TITLE), objects)
            running.wait_for_echo()
            yield running
    finally:
        shutil.rmtree(objects, ignore_errors=True)
