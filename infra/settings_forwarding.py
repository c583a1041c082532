"""The settings of a gateway's way out: how much, when, what first, and how packed.

Invariant: nothing here can lose or refuse an instance; it only waits in the spool. Whatever is
set can be obeyed, or the start says why not.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from contracts.modalities import KNOWN_MODALITIES
from infra.settings_hours import (
    DAY_MINUTES,
    TIME_OF_DAY,
    minute_of_day,
    require_time_zone,
    require_window,
)
from infra.settings_section import Section

MIB = 1024 * 1024
# The first number goes first; the usual one is between, so that a rule can go either way.
PRIORITIES = range(1, 10)
PRIORITY_USUAL = 5

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEK_MINUTES = len(DAYS) * DAY_MINUTES


class BandwidthWindow(Section):
    """A time of the day, local, with a limit of its own; 0 sends no payload in it.

    One that ends before it begins goes over midnight; `days` are those on which it begins.
    """

    days: tuple[Day, ...] = Field(default=DAYS, min_length=1)
    begins: str = Field(pattern=TIME_OF_DAY)
    ends: str = Field(pattern=TIME_OF_DAY)
    bandwidth_bytes_per_s_max: int = Field(ge=0)

    @model_validator(mode="after")
    def _has_a_length(self) -> BandwidthWindow:
        require_window(self.begins, self.ends)
        return self

    def minutes_of_week(self) -> frozenset[int]:
        """Every minute in it, counted from Monday 00:00."""
        begins, ends = (minute_of_day(time) for time in (self.begins, self.ends))
        length = (ends - begins) % DAY_MINUTES
        starts = (DAYS.index(day) * DAY_MINUTES + begins for day in self.days)
        return frozenset(
            (start + minute) % WEEK_MINUTES for start in starts for minute in range(length)
        )


class PriorityRule(Section):
    """Deliveries of a calling AE title (`*` for any) and modality: 1 goes first, 9 last."""

    calling_ae_title: str = Field(default="*", min_length=1, max_length=16)
    # As the SOP class tells it: nobody has read the data set yet.
    modality: str | None = None
    priority: int = Field(ge=PRIORITIES[0], le=PRIORITIES[-1])

    @model_validator(mode="after")
    def _is_told_by_a_class(self) -> PriorityRule:
        if self.modality is not None and self.modality not in KNOWN_MODALITIES:
            known = ", ".join(sorted(KNOWN_MODALITIES))
            raise ValueError(f"no SOP class tells the modality {self.modality!r}; known: {known}")
        return self


class ForwardingSettings(Section):
    """What the forwarder sends when: a limit for payload bytes, a schedule, priorities."""

    bandwidth_bytes_per_s_max: int | None = Field(default=None, ge=1024)
    bandwidth_burst_bytes_max: int = Field(default=4 * MIB, ge=1)
    schedule: tuple[BandwidthWindow, ...] = ()
    time_zone: str | None = None
    priorities: tuple[PriorityRule, ...] = ()
    # Waiting so long weighs as much as one priority: nothing waits for ever.
    priority_step_s: int = Field(default=300, ge=1, le=24 * 3600)
    payload_compression: Literal["none", "gzip", "lz4", "zstd"] = "none"

    @model_validator(mode="after")
    def _schedule_can_be_obeyed(self) -> ForwardingSettings:
        if self.schedule and self.time_zone is None:
            raise ValueError('schedule needs time_zone, such as "Europe/Berlin": whose hours?')
        if self.time_zone is not None:
            require_time_zone(self.time_zone)
        taken: dict[int, int] = {}
        for number, window in enumerate(self.schedule):
            for minute in sorted(window.minutes_of_week()):
                other = taken.setdefault(minute, number)
                if other != number:
                    at = f"{DAYS[minute // DAY_MINUTES]} {_time_of_day(minute)}"
                    raise ValueError(f"schedule[{other}] and schedule[{number}] overlap at {at}")
        return self


def _time_of_day(minute_of_week: int) -> str:
    hours, minutes = divmod(minute_of_week % DAY_MINUTES, 60)
    return f"{hours:02}:{minutes:02}"
