"""The engines' cache outside the checkout: each version is built once and then only read.

Invariant: a directory with an engine's final name is complete. It is built beside that name and
renamed, under a kernel lock, so a killed build leaves nothing that looks ready.
It must not be cleaned by a stack: other checkouts use it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from contracts.failures import FatalError

Report = Callable[[str], None]
ERROR_LINES_SHOWN = 8


def silent(_line: str) -> None:
    """A Report that says nothing."""


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/hilum`, by default under the home directory."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(base) / "hilum"


def engine_directory(name: str) -> Path:
    """Where the engine of that name and version lies or will lie."""
    return cache_directory() / "engines" / name


def obtain(name: str, build: Callable[[Path], None]) -> Path:
    """The complete directory of engine `name` (with its version), built by `build` if missing.

    Waits while another process builds the same one. Raises what `build` raises; then there is
    nothing at `name`.
    """
    final = engine_directory(name)
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(final.parent / f".{name}.lock"):
        if final.is_dir():
            return final
        # Beside the final name: a rename across file systems would be a copy, and not atomic.
        for stale in final.parent.glob(f".{name}.build-*"):
            shutil.rmtree(stale, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}.build-", dir=final.parent))
        try:
            build(work)
            work.chmod(0o755)
            work.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


def run_tool(
    command: Sequence[str], environment: Mapping[str, str], directory: Path, report: Report
) -> None:
    """Run a build tool to its end, each line of its output to `report`.

    Raises FatalError with its last lines when it fails.
    """
    last: deque[str] = deque(maxlen=ERROR_LINES_SHOWN)
    with subprocess.Popen(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                last.append(line.rstrip())
                report(last[-1])
    if process.returncode != 0:
        raise FatalError(
            f"running {command[0]} ended with code {process.returncode}:\n  " + "\n  ".join(last),
            "check the network and the tool's own message, then start again",
        )


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
