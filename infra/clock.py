"""The two clocks, as a seam: UTC for what people read, monotonic for what a program decides.

Invariant: no duration, order or retention is ever computed from the UTC clock alone.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Time and waiting. A test may advance it; production uses `SystemClock`."""

    def now(self) -> datetime:
        """Aware UTC time, whole microseconds."""

    def monotonic(self) -> float:
        """Seconds that never go backwards."""

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Waits until `stop` is set (True) or the seconds are over (False)."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        return stop.wait(seconds)
