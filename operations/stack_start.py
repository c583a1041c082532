"""Starts one program of the local stack in place of itself, after a pause if it keeps dying.

    python -I stack_start.py PROGRAM RECORD

PROGRAM is a file with `command` and `environment`. The supervisor restarts at once and for ever;
this gives a crash loop its pause (1, 2, 4 … 30 s) and leaves the pause in RECORD for `status`.
Invariant: the program keeps the process id that the supervisor knows.
It must import the standard library only: it starts in some milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

# A program that ran this long was not in a crash loop.
STEADY_S = 30.0
PAUSE_S_MAX = 30.0


def main(arguments: list[str]) -> None:
    """Pause as the record says, write it anew, and become the program."""
    program_path, record_path = map(Path, arguments)
    now = time.monotonic()
    quick_ends = count_quick_ends(read_record(record_path), now)
    pause_s = pause_after(quick_ends)
    write_record(record_path, quick_ends, now + pause_s)
    time.sleep(pause_s)
    program = json.loads(program_path.read_text(encoding="utf-8"))
    command = program["command"]
    os.execvpe(command[0], command, {**os.environ, **program["environment"]})


def count_quick_ends(record: dict[str, float], now: float) -> int:
    """How often in a row the program ended soon after its start, with the end just seen."""
    started_at = record.get("started_at", -1.0)
    # The monotonic clock begins anew with the machine: a record from the future is an old one.
    ended_quickly = 0 <= started_at <= now and now - started_at < STEADY_S
    return int(record.get("quick_ends", 0)) + 1 if ended_quickly else 0


def pause_after(quick_ends: int) -> float:
    """Seconds to wait: none for the first restart, then doubling."""
    return 0.0 if quick_ends < 2 else float(min(2 ** (quick_ends - 2), PAUSE_S_MAX))


def read_record(path: Path) -> dict[str, float]:
    """The last start, or nothing where there is none or it is torn."""
    with contextlib.suppress(OSError, ValueError):
        record = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(record, dict):
            return record
    return {}


def write_record(path: Path, quick_ends: int, started_at: float) -> None:
    """Replace the record; a start does not fail for it."""
    with contextlib.suppress(OSError):
        fresh = path.with_suffix(".new")
        text = json.dumps({"quick_ends": quick_ends, "started_at": started_at})
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
