"""What keeps a forwarder from doing its whole work, told to readyz and to `gateway.state`.

Invariant: each cause is named by one topic and taken back by the same one; green means that
nothing is named. Safe from any thread. Must not decide anything for the forwarder.
"""

from __future__ import annotations

import threading

from infra.telemetry import Readiness

STARTING = "starting: not yet connected to Kafka"
PUBLISHING = "publishing"


class ForwardHealth:
    """Impediments by cause (`bus`, `publish`, `twin`, `spool`, …) make it red; remarks do not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._impediments: dict[str, str] = {"bus": STARTING}
        self._remarks: dict[str, str] = {}

    def impede(self, cause: str, reason: str) -> None:
        """Red because of `cause` until `clear`."""
        with self._lock:
            self._impediments[cause] = reason

    def clear(self, cause: str) -> None:
        """Takes `cause` back."""
        with self._lock:
            self._impediments.pop(cause, None)

    def note_aside(self, cause: str, text: str) -> None:
        """What stands beside a green state, such as single deliveries put off; '' takes it back."""
        with self._lock:
            if text:
                self._remarks[cause] = text
            else:
                self._remarks.pop(cause, None)

    def readiness(self) -> Readiness:
        """Red with every reason, or green."""
        with self._lock:
            reasons = [*self._impediments.values(), *self._remarks.values()]
            is_ready = not self._impediments
        return Readiness(is_ready, "; ".join(reasons) or PUBLISHING)
