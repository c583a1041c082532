"""When to try again after a failure: exponentially later, with jitter, up to a limit.

Invariant: two gateways that lost the same broker do not come back in step. Must not wait itself.
"""

from __future__ import annotations

import random

from infra.clock import Clock

FIRST_S = 0.5
RETRYABLE_S_MAX = 10.0
# Credentials and missing rights heal only by a person, who must not have to restart us as well.
FATAL_S = 30.0


class Backoff:
    """The next time at which a failed piece of work may be tried."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._not_before = 0.0

    def is_due(self) -> bool:
        """Whether the pause is over."""
        return self._clock.monotonic() >= self._not_before

    def failed(self, is_fatal: bool = False) -> float:
        """Notes a failure; the seconds to wait before the next try."""
        limit_s = min(RETRYABLE_S_MAX, FIRST_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        delay_s = FATAL_S if is_fatal else limit_s * random.uniform(0.5, 1.0)
        self._not_before = self._clock.monotonic() + delay_s
        return delay_s

    def succeeded(self) -> None:
        """The next failure waits shortly again."""
        self._failures = 0
        self._not_before = 0.0
