"""The loop that copies and confirms, over one open mirror.

Invariant: a question is looked at only after everything was copied that was durable when it came;
lack of room is told and tried again. Must not open or recover anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_gateway.forward_health import ForwardHealth
from edge_gateway.mirror.desk import MirrorDesk
from edge_gateway.mirror.follower import Follower
from edge_gateway.spool import SpoolFull
from edge_gateway.spool.limits import RETRY_DELAY_S
from infra.clock import Clock
from infra.telemetry import Metrics

# Between two looks at a spool that nobody asks about: what gathers meanwhile takes one flush.
IDLE_WAIT_S = 0.02
# While a question is open that could not be answered: the mark may have been caught in the middle
# of being replaced.
ASKED_WAIT_S = 0.005
CHECK_INTERVAL_S = 1.0


class Copying:
    """Used by one thread; `step_began_at` (monotonic) is for those who watch for a hanging disk."""

    def __init__(
        self,
        follower: Follower,
        desk: MirrorDesk,
        health: ForwardHealth,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._follower = follower
        self._desk = desk
        self._health = health
        self._clock = clock
        self._metrics = metrics
        self._checked_at = 0.0
        self._measured_at = 0.0
        self._again_at = 0.0
        self._told_records = 0
        self._told_bytes = 0
        self.step_began_at: float | None = None

    def run(self, stop: threading.Event, may_go_on: Callable[[], bool]) -> None:
        """Until `stop`, or until `may_go_on`, asked once a second, says no.

        Raises SpoolError, OSError where the mirror has to be opened anew.
        """
        while not stop.is_set():
            is_moved = self._copy()
            is_moved = self._desk.step() or (is_moved and self._is_urgent)
            now = self._clock.monotonic()
            if now - self._checked_at >= CHECK_INTERVAL_S:
                self._checked_at = now
                self._show()
                if not may_go_on():
                    return
            if not is_moved:
                self._desk.wait(ASKED_WAIT_S if self._desk.is_asked else IDLE_WAIT_S)

    @property
    def _is_urgent(self) -> bool:
        return self._desk.is_asked or self._follower.is_far_behind

    def _copy(self) -> bool:
        now = self._clock.monotonic()
        if now < self._again_at:
            return False
        self.step_began_at = now
        try:
            if now >= self._measured_at + CHECK_INTERVAL_S:
                self._follower.require_room()
                self._measured_at = now
            is_moved = self._follower.step()
            self._health.clear("mirror")
            return is_moved
        except SpoolFull as lack:
            self._again_at = now + RETRY_DELAY_S
            self._health.impede("mirror", f"level 'mirror' is refused: {lack}")
            return False
        finally:
            self.step_began_at = None

    def _show(self) -> None:
        follower, metrics = self._follower, self._metrics
        metrics.gauge("hilum_mirror_behind_bytes", follower.behind_bytes())
        metrics.count("hilum_mirror_records_total", follower.records - self._told_records)
        metrics.count("hilum_mirror_bytes_total", follower.copied_bytes - self._told_bytes)
        self._told_records, self._told_bytes = follower.records, follower.copied_bytes
        places = follower.damaged
        self._health.note_aside("damaged", f"{places} rotten place(s)" if places else "")
