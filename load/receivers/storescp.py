"""DCMTK's storescp as a measured receiver: a process for each association, one file an instance.

Invariant: options as its manual gives them, nothing tuned. It never flushes, so an acknowledged
instance may be lost with the power.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from contracts.failures import FatalError
from load.receivers.process import FilesReceiver, files_receiver, first_line
from operations.peers import find

PROGRAM = "storescp"
PACKAGE = "dcmtk"
AE_TITLE = "STORESCP"


def version() -> str | None:
    """As the program says it; None when it is not installed."""
    return dcmtk_version(PROGRAM)


def dcmtk_version(program: str) -> str | None:
    """The release of one of DCMTK's programs: "3.6.7 2022-04-22"."""
    found = find(program)
    line = first_line([found, "--version"]) if found else None
    # "$dcmtk: storescp v3.6.7 2022-04-22 $"
    return line.strip("$ ").split(" v", 1)[-1] if line else None


@contextmanager
def run_storescp(directory: Path) -> Iterator[FilesReceiver]:
    """`storescp --fork` that accepts every transfer syntax it knows."""
    program = find(PROGRAM)
    if program is None:
        raise FatalError("storescp is not installed", f"apt-get install {PACKAGE}")

    def command(port: int, objects: Path) -> Sequence[str]:
        return (program, "--fork", "+xa", "-aet", AE_TITLE, "-od", str(objects), str(port))

    with files_receiver(PROGRAM, AE_TITLE, directory, command) as running:
        yield running
