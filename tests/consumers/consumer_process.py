"""A consumer as a child process of a test: its log, its exit code, its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.consumers.bus import eventually

ROOT = Path(__file__).resolve().parents[2]
EXIT_S = 150.0


class ConsumerProcess:
    """`python -m consumers NAME --settings F`, its log lines as they came."""

    def __init__(
        self, name: str, settings: Path, directory: Path, module: str = "consumers"
    ) -> None:
        self.log = directory / f"{name}.log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", module, name, "--settings", str(settings)],
                cwd=ROOT,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def lines(self) -> list[dict[str, Any]]:
        """The log, line by line."""
        found = []
        for line in self.log.read_text().splitlines():
            if line.startswith("{") and line.endswith("}"):
                found.append(json.loads(line))
        return found

    def line(self, event: str) -> dict[str, Any]:
        """The first line of this event, once it is there."""
        eventually(lambda: any(x["event"] == event for x in self.lines()), f"a line {event!r}")
        return next(x for x in self.lines() if x["event"] == event)

    def exit_code(self) -> int:
        """Waits for the end."""
        return self.child.wait(EXIT_S)

    def end(self) -> None:
        """kill -9, if it still runs."""
        self.child.kill()
        self.child.wait()
