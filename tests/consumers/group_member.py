"""A member of a group as a process of its own, which writes what it was given into a file.

    python -m tests.consumers.group_member --settings F --name NAME --out F [--named]

Invariant: the runner is the product's own; a line is there before its record is committed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumers.runner import Runner
from consumers.spec import BatchLimits, ConsumerSpec, Record, Rejection
from contracts.events import GatewayRequest
from infra.connect import Engines, connect
from infra.settings import ConsumerSettings, load
from infra.telemetry import Metrics, configure_logging
from tests.consumers.recording import INPUT, number_of

ROOT = Path(__file__).resolve().parents[2]
GROUP = "recording"


@dataclass(frozen=True)
class Line:
    """One record that a member was given, and when (Unix time)."""

    number: int
    partition: int
    at: float


class FileWriter:
    """Appends a line for each record."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="ascii")

    def write(self, batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        """The lines are in the file on return."""
        now = time.time()
        self._file.write("".join(f"{number_of(r)} {r.partition} {now}\n" for r in batch))
        self._file.flush()
        return ()

    def tick(self) -> None:
        """Nothing periodic."""

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class MemberProcess:
    """One member; `lines` is what all of its starts were given."""

    def __init__(self, settings: Path, name: str, directory: Path, *, is_named: bool) -> None:
        self.out = directory / f"{name}.lines"
        self._command = [sys.executable, "-m", "tests.consumers.group_member"]
        self._command += ["--settings", str(settings), "--name", name, "--out", str(self.out)]
        self._command += ["--named"] if is_named else []
        self._log = directory / f"{name}.log"
        self.child = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, cwd=ROOT, stderr=log, env=environment)

    def start_again(self) -> None:
        """After `stop` or `kill`."""
        self.child = self._start()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(60)

    def kill(self) -> None:
        """kill -9; returns once it is gone."""
        self.child.kill()
        self.child.wait()

    def lines(self) -> list[Line]:
        """What was written so far; a last line may be half written."""
        if not self.out.exists():
            return []
        rows = [row.split() for row in self.out.read_text().splitlines()]
        return [Line(int(row[0]), int(row[1]), float(row[2])) for row in rows if len(row) == 3]


def main() -> int:
    """Consumes until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.consumers.group_member")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--named", action="store_true")
    options = parser.parse_args()
    configure_logging(options.name, "info")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    engines = connect(load(options.settings), options.name, Metrics())
    member = options.name if options.named else None
    Runner(_spec(options.out), engines, ConsumerSettings(), stop, member=member).run()
    engines.close()
    return 0


def _spec(out: Path) -> ConsumerSpec:
    def build(_engines: Engines) -> FileWriter:
        return FileWriter(out)

    limits = BatchLimits(records_max=50, bytes_max=1_000_000, age_ms_max=100)
    inputs = {INPUT: GatewayRequest}
    return ConsumerSpec(GROUP, inputs, limits, lambda event: 1_000, build)


if __name__ == "__main__":
    sys.exit(main())
