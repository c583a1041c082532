"""The settings of what is done to packs by night: merging and collecting.

Invariant: without a person's word nothing is written twice and nothing is removed.
"""

from __future__ import annotations

import zoneinfo
from datetime import date, datetime, timedelta

from pydantic import Field, model_validator

from infra.settings_hours import (
    DAY_MINUTES,
    TIME_OF_DAY,
    minute_of_day,
    require_time_zone,
    require_window,
)
from infra.settings_section import Section


class PackSettings(Section):
    """What `pack-keeper` does each night: `merge` needs room, `collect` removes."""

    merge: bool = False
    collect: bool = False
    begins: str = Field(default="01:00", pattern=TIME_OF_DAY)
    ends: str = Field(default="05:00", pattern=TIME_OF_DAY)
    time_zone: str = "UTC"
    packs_min: int = Field(default=4, ge=2)
    # A study that is still coming would be merged again and again.
    idle_hours: float = Field(default=24.0, ge=1)
    http_port: int = Field(default=9230, ge=0, le=65_535)

    @model_validator(mode="after")
    def _hours_can_be_meant(self) -> PackSettings:
        require_window(self.begins, self.ends)
        require_time_zone(self.time_zone)
        return self

    @property
    def is_asked_for(self) -> bool:
        """Whether there is anything to do by night."""
        return self.merge or self.collect

    def night(self, now: datetime) -> date | None:
        """The day on which the window began that `now` (aware) lies in; None outside of it."""
        local = now.astimezone(zoneinfo.ZoneInfo(self.time_zone))
        begins = minute_of_day(self.begins)
        length = (minute_of_day(self.ends) - begins) % DAY_MINUTES
        since = (local.hour * 60 + local.minute - begins) % DAY_MINUTES
        if since >= length:
            return None
        return (local.replace(tzinfo=None) - timedelta(minutes=since)).date()
