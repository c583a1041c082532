"""A clock that moves only when the simulation says so, in place of the machine's.

Invariant: the same run sees the same times; what waits lets exactly that much time pass.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class SimulatedClock:
    """`infra.clock.Clock`; the wall clock may be stepped, the monotonic one never."""

    def __init__(self) -> None:
        # Not 0: several parts take 0 for "long ago".
        self._elapsed = timedelta(hours=1)
        self._step = timedelta(0)

    def now(self) -> datetime:
        return START + self._elapsed + self._step

    def monotonic(self) -> float:
        return self._elapsed.total_seconds()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.pass_time(seconds)
        return stop.is_set()

    def pass_time(self, seconds: float) -> None:
        """Lets time pass for everybody."""
        self._elapsed += timedelta(seconds=max(0.0, seconds))

    def step_wall_clock(self, seconds: float) -> None:
        """Somebody sets the machine's clock."""
        self._step += timedelta(seconds=seconds)


class SimulatedTime:
    """What a module that imports `time` uses of it."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock

    def monotonic(self) -> float:
        return self._clock.monotonic()
