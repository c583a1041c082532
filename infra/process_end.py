"""How a process that only works ends: asked to, for a person to decide, or by a defect.

Invariant: the last log line of a process that failed is `stopped` with `reason` and `next_step`;
nothing of an unknown exception's text is told, because it may be a patient's.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from pathlib import Path

from contracts.failures import EXIT_OK
from infra.telemetry import logger

# After a request to stop the work in hand is given this long; what is cut off comes again.
STOP_S_MAX = 9.0


def stop_on_signals(stop: threading.Event) -> None:
    """SIGTERM and SIGINT set `stop`; a process that is still there after STOP_S_MAX is ended."""

    def on_signal(_number: int, _frame: object) -> None:
        if stop.is_set():
            return
        stop.set()
        cut_off = threading.Timer(STOP_S_MAX, os._exit, (EXIT_OK,))
        cut_off.daemon = True
        cut_off.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


def stopped(reason: str, next_step: str, exit_code: int) -> int:
    """The exit code, after the last line."""
    logger("process").error("stopped", reason=reason, next_step=next_step, exit_code=exit_code)
    return exit_code


def unexpected(cause: Exception) -> str:
    """The place of an exception that nobody foresaw, and no word of it."""
    last = traceback.extract_tb(cause.__traceback__)[-1:]
    place = "".join(f" at {Path(at.filename).name}:{at.lineno} in {at.name}" for at in last)
    return f"unexpected {type(cause).__name__}{place}"
