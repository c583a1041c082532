"""Hours of the day in settings: whose they are, and that they can be meant.

Invariant: what passes here is a time that exists in a zone that is known. Decides nothing.
"""

from __future__ import annotations

import zoneinfo

DAY_MINUTES = 24 * 60
TIME_OF_DAY = "^[0-2][0-9]:[0-5][0-9]$"


def minute_of_day(time: str) -> int:
    """Minutes since midnight of a text like TIME_OF_DAY."""
    hours, _, minutes = time.partition(":")
    return int(hours) * 60 + int(minutes)


def require_window(begins: str, ends: str) -> None:
    """Both are times of the day, and something lies between. Raises ValueError."""
    for time in (begins, ends):
        if minute_of_day(time) >= DAY_MINUTES:
            raise ValueError(f"{time} is no time of the day: 00:00 to 23:59")
    if begins == ends:
        raise ValueError("begins and ends are the same time: a window needs a length")


def require_time_zone(name: str) -> None:
    """The zone is known on this machine. Raises ValueError."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"time_zone {name!r} is not known here") from None
