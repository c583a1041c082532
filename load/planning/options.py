"""What `hilum load plan` is asked: the network, its studies, and what it should bear.

Invariant: validated once, here, in the units people know; every share is between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contracts.failures import FatalError

# The mean of the synthetic mix (load/growth/archive.py, 2,000 studies): CT and MR beside many
# studies of one to four images.
INSTANCES_PER_STUDY = 270.0
SIZE_KB = 525.0


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """`size_kb` is the mean data set's, in thousands of bytes, as it is sent.

    `peak_hour_share` is the part of a day's studies in its busiest hour, `largest_site_share` the
    busiest site's part of all (None: three times the mean site's). `load_max` is how busy a
    process or broker may be in that hour. `reports` is a directory of reports whose measurements
    replace the built-in ones. Raises FatalError naming the first value out of its bounds.
    """

    sites: int
    studies_per_day: float
    instances_per_study: float = INSTANCES_PER_STUDY
    size_kb: float = SIZE_KB
    peak_hour_share: float = 0.15
    largest_site_share: float | None = None
    growth_per_year: float = 0.08
    years: int = 5
    payload_hours: float = 24.0
    outage_hours: float = 72.0
    hold_hours: float = 24.0
    catch_up_hours: float = 24.0
    wan_mbit: float | None = None
    dr: bool = True
    replication_factor: int = 3
    load_max: float = 0.5
    broker_disk_tb: float = 8.0
    seed: int = 0
    reports: Path | None = None

    def __post_init__(self) -> None:
        _whole("sites", self.sites, 1, 100_000)
        _positive("studies_per_day", self.studies_per_day, 1e8)
        _positive("instances_per_study", self.instances_per_study, 1e6)
        _positive("size_kb", self.size_kb, 1e9)
        _share("peak_hour_share", self.peak_hour_share, 1 / 24)
        _share("load_max", self.load_max, 0.01)
        if self.largest_site_share is not None:
            _share("largest_site_share", self.largest_site_share, 1 / self.sites)
        _whole("years", self.years, 0, 50)
        _whole("replication_factor", self.replication_factor, 1, 9)
        _between("growth_per_year", self.growth_per_year, -0.9, 10.0)
        for name in ("payload_hours", "outage_hours", "catch_up_hours", "broker_disk_tb"):
            _positive(name, getattr(self, name), 1e6)
        _between("hold_hours", self.hold_hours, 0.0, 1e5)
        if self.wan_mbit is not None:
            _positive("wan_mbit", self.wan_mbit, 1e7)

    @property
    def site_share(self) -> float:
        """The busiest site's part of a day's studies."""
        if self.largest_site_share is not None:
            return self.largest_site_share
        return min(1.0, 3.0 / self.sites)


def _whole(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise FatalError(f"{name} is {value}", f"give a whole number from {low} to {high:,}")


def _positive(name: str, value: float, high: float) -> None:
    if not 0 < value <= high:
        raise FatalError(f"{name} is {value:g}", f"give a number above 0, {high:g} at most")


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise FatalError(f"{name} is {value:g}", f"give {low:g} to {high:g}")


def _share(name: str, value: float, low: float) -> None:
    if not low <= value <= 1:
        raise FatalError(f"{name} is {value:g}", f"give a share from {low:.4g} to 1")
