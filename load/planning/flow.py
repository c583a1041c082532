"""What flows through a network in the last year of a plan, and one row of that plan.

Invariant: pure; a day's studies times what people said of them, and nothing that was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from load.planning.options import PlanOptions

DAY_S, HOUR_S = 86_400.0, 3_600.0


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One size. `measured` names the unit costs it rests on; empty where none is needed."""

    name: str
    title: str
    value: float
    unit: str
    formula: str
    measured: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flow:
    """What flows in the last planned year."""

    options: PlanOptions

    @cached_property
    def growth(self) -> float:
        """Of the last year against today."""
        return float((1 + self.options.growth_per_year) ** self.options.years)

    @cached_property
    def instances_a_day(self) -> float:
        return self.options.studies_per_day * self.options.instances_per_study * self.growth

    @cached_property
    def bytes_a_day(self) -> float:
        return self.instances_a_day * self.options.size_kb * 1e3

    @cached_property
    def instances_a_second(self) -> float:
        """In the busiest hour."""
        return self.instances_a_day * self.options.peak_hour_share / HOUR_S

    @cached_property
    def bytes_a_second(self) -> float:
        """In the busiest hour."""
        return self.bytes_a_day * self.options.peak_hour_share / HOUR_S
