"""One log line for each source and kind a minute, so that a flood cannot fill the disk.

Invariant: what is held back is counted and told with the next line; memory is bounded.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from infra.telemetry import Logger

INTERVAL_S = 60.0
SOURCES_MAX = 1024


class LogBudget:
    """Warnings about peers, rate-limited; safe from any thread."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._spent: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def warn(self, event: str, address: str, kind: str, **facts: object) -> None:
        """Writes the line, or counts it where this address had one of this kind a moment ago."""
        held_back = self._take(address, kind)
        if held_back is not None:
            self._log.warning(event, peer=address, kind=kind, held_back=held_back, **facts)

    def _take(self, address: str, kind: str) -> int | None:
        now = time.monotonic()
        with self._lock:
            last_s, held_back = self._spent.pop((address, kind), (float("-inf"), 0))
            if now - last_s < INTERVAL_S:
                self._spent[(address, kind)] = (last_s, held_back + 1)
                return None
            self._spent[(address, kind)] = (now, 0)
            if len(self._spent) > SOURCES_MAX:
                self._spent.popitem(last=False)
            return held_back
