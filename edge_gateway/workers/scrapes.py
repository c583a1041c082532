"""Counts of this moment for whoever reads the gateway's metrics: every worker is asked first.

Invariant: a scrape waits SCRAPE_WAIT_S at most, and for workers that serve alone; `ask` is for any
thread, everything else for the acceptor's main thread. Must not touch a metric.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_gateway.bell import Bell
from edge_gateway.workers.child import Child
from edge_gateway.workers.messages import Report

SCRAPE_WAIT_S = 1.0


@dataclass(eq=False, slots=True)
class _Scrape:
    is_done: threading.Event = field(default_factory=threading.Event)
    waiting: set[int] = field(default_factory=set)


class Scrapes:
    """Scrapes under way; `bell` wakes the main thread for a new one."""

    def __init__(self) -> None:
        self.bell = Bell()
        self._asked: deque[_Scrape] = deque()
        self._open: dict[int, _Scrape] = {}
        self._last = 0

    def ask(self) -> None:
        """Returns when every worker has reported, or after SCRAPE_WAIT_S."""
        scrape = _Scrape()
        self._asked.append(scrape)
        self.bell.ring()
        scrape.is_done.wait(SCRAPE_WAIT_S)

    def begin(self, children: Sequence[Child]) -> None:
        """Asks the workers for what was asked of us since the last call."""
        self.bell.hear()
        while self._asked:
            scrape = self._asked.popleft()
            self._last += 1
            self._open[self._last] = scrape
            scrape.waiting = {child.number for child in children if child.is_serving}
            for child in children:
                if child.is_serving:
                    child.say(Report(self._last))
            self._settle(self._last)

    def reported(self, child: Child, scrape: int) -> None:
        """A worker has said everything."""
        found = self._open.get(scrape)
        if found is not None:
            found.waiting.discard(child.number)
            self._settle(scrape)

    def forget(self, child: Child) -> None:
        """The worker is gone."""
        for scrape in list(self._open):
            self.reported(child, scrape)

    def _settle(self, number: int) -> None:
        if not self._open[number].waiting:
            self._open.pop(number).is_done.set()
