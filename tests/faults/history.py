"""The history of a run: what clients asked and heard, what the nemesis did, what gauges showed.

Invariant: one JSON object a line, written through before the caller goes on, so that a history
outlives the run that wrote it. It must not import the product: the checker reads it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# How a C-STORE ended for its sender. `unknown`: no answer, so it may be kept or not.
SENT, OK, FAILED, UNKNOWN = "sent", "ok", "failed", "unknown"


class History:
    """Appends entries to a file; usable from several threads. Times are seconds since the start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._file = path.open("a", encoding="utf-8")

    def now_s(self) -> float:
        """Seconds since this history began."""
        return round(time.monotonic() - self._began, 3)

    def store(self, outcome: str, client: str, instance: dict[str, str], status: int = -1) -> None:
        """A C-STORE was sent, or ended. `instance`: sop_instance_uid, study and sha256."""
        self._write({"kind": "store", "outcome": outcome, "client": client, "status": status}
                    | instance)  # fmt: skip

    def fault(self, name: str, target: str, is_begin: bool) -> None:
        """The nemesis began or ended a fault."""
        self._write({"kind": "fault", "name": name, "target": target, "is_begin": is_begin})

    def gauge(self, name: str, value: float) -> None:
        """What a gauge showed."""
        self._write({"kind": "gauge", "name": name, "value": value})

    def note(self, text: str) -> None:
        """Anything a reader of the report should know."""
        self._write({"kind": "note", "text": text})

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps({"at_s": self.now_s(), **entry}) + "\n")
            self._file.flush()


def read_history(path: Path, since_s: float = 0.0) -> Iterator[dict[str, Any]]:
    """The entries of a file in their order, from a moment on; a torn last line is left out."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            return
        if entry["at_s"] >= since_s:
            yield entry
