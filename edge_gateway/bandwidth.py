"""How many payload bytes may leave now: a token bucket under the limit of this hour.

Invariant: over any time T no more than burst + limit × T leave, one chunk aside, because a chunk
goes whole and what it overdraws is waited for. Must not know deliveries.
"""

from __future__ import annotations

import zoneinfo

from infra.clock import Clock
from infra.settings_forwarding import ForwardingSettings
from infra.settings_hours import DAY_MINUTES

# The wall clock is asked for the hour's limit so often.
LOOK_INTERVAL_S = 1.0


class Bandwidth:
    """The bucket begins full. Used by one thread."""

    def __init__(self, settings: ForwardingSettings, clock: Clock) -> None:
        self._clock = clock
        self._usual = settings.bandwidth_bytes_per_s_max
        self._burst_bytes = float(settings.bandwidth_burst_bytes_max)
        self._zone = zoneinfo.ZoneInfo(settings.time_zone) if settings.time_zone else None
        self._limit_at = {
            minute: window.bandwidth_bytes_per_s_max
            for window in settings.schedule
            for minute in window.minutes_of_week()
        }
        self._tokens = self._burst_bytes
        self._filled_at = self._looked_at = clock.monotonic()
        self._limit = self._limit_of_now()

    @property
    def limit_bytes_per_s(self) -> int | None:
        """The limit in force; 0: no payload leaves, None: as much as the network takes."""
        return self._limit

    def is_open(self) -> bool:
        """Whether the next chunk may leave now."""
        now = self._clock.monotonic()
        if self._limit:
            earned = (now - self._filled_at) * self._limit
            self._tokens = min(self._burst_bytes, self._tokens + earned)
        elif self._limit is None:
            self._tokens = self._burst_bytes
        self._filled_at = now
        if now - self._looked_at >= LOOK_INTERVAL_S:
            self._looked_at = now
            self._limit = self._limit_of_now()
        return self._limit is None or (self._limit > 0 and self._tokens > 0)

    def take(self, size_bytes: int) -> None:
        """So many bytes have left."""
        if self._limit is not None:
            self._tokens -= size_bytes

    def _limit_of_now(self) -> int | None:
        if not self._limit_at:
            return self._usual
        local = self._clock.now().astimezone(self._zone)
        minute = local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute
        return self._limit_at.get(minute, self._usual)


def told(limit_bytes_per_s: int | None) -> str:
    """The limit in words for readyz; '' without one."""
    if limit_bytes_per_s is None:
        return ""
    if limit_bytes_per_s == 0:
        return "payload waits for the end of a window of the schedule"
    return f"payload limited to {limit_bytes_per_s} bytes/s"
