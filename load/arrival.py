"""When each study of a scenario arrives, and how many instances it has: the plan on paper.

Invariant: the plan is a pure function of the scenario (its seed included), and never has more
instances than the scenario admits; what is left out is counted. It must not make an image.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from load.scenario import HOURS_A_DAY, Modality, Scenario, Site
from load.studies import KINDS

_AE_TITLE_CHARACTERS = 16
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """One study: its number (unique in the plan), when it begins in seconds of the run (None in
    the closed loop), and how many instances it has."""

    number: int
    due_s: float | None
    instances: int


@dataclass(frozen=True, slots=True)
class LanePlan:
    """What one modality of one site sends, in order. `gateway` is the name of a local one."""

    site: str
    gateway: str
    calling_ae_title: str
    modality: Modality
    studies: tuple[StudyPlan, ...]

    @property
    def instances(self) -> int:
        """Of all its studies."""
        return sum(study.instances for study in self.studies)

    def due_times(self) -> Iterator[tuple[StudyPlan, int, float | None]]:
        """Every instance: its study, its index there, when it is due."""
        for study in self.studies:
            for index in range(study.instances):
                due_s = study.due_s
                if due_s is not None:
                    due_s += index / self.modality.instances_per_s
                yield study, index, due_s


@dataclass(frozen=True, slots=True)
class Plan:
    """A scenario on paper. `left_out`: instances beyond its instances_max."""

    lanes: tuple[LanePlan, ...]
    left_out: int

    @property
    def instances(self) -> int:
        """Of all lanes."""
        return sum(lane.instances for lane in self.lanes)


def plan(scenario: Scenario, gateways: Sequence[str]) -> Plan:
    """Every lane with its studies; sites without a gateway of their own take turns on
    `gateways`."""
    numbers = iter(range(10**8))
    lanes = [
        _lane(scenario, site, modality, gateways[index % len(gateways)], numbers)
        for index, site in enumerate(scenario.sites)
        for modality in site.modalities
    ]
    return _bounded(tuple(lane for lane in lanes if lane.studies), scenario.instances_max)


def arrivals(scenario: Scenario, studies_per_hour: float, rng: random.Random) -> Iterator[float]:
    """Seconds of the run at which studies arrive, in order.

    An inhomogeneous Poisson process with the hourly rates of the day, made by unit exponential
    steps over the integral of the rate; `even` takes equal steps instead.
    """
    hour, end = scenario.start_hour, scenario.start_hour + scenario.hours
    while True:
        # The first of an even stream comes after half a step: no two lanes pile up at 0.
        step = rng.expovariate(1.0) if scenario.arrival == "poisson" else 1.0
        if scenario.arrival == "even" and hour == scenario.start_hour:
            step = 0.5
        hour = _after(scenario, hour, step / studies_per_hour)
        if hour >= end:
            return
        yield (hour - scenario.start_hour) * _HOUR_S / scenario.compress_time


def _after(scenario: Scenario, hour: float, need: float) -> float:
    """The hour at which `need` weighted hours have gone by since `hour`."""
    end = scenario.start_hour + scenario.hours
    while hour < end:
        weight = scenario.day[int(hour) % HOURS_A_DAY]
        left = int(hour) + 1 - hour
        if need <= left * weight:
            return hour + need / weight
        need -= left * weight
        hour = float(int(hour) + 1)
    return end


def _lane(
    scenario: Scenario, site: Site, modality: Modality, gateway: str, numbers: Iterator[int]
) -> LanePlan:
    rng = random.Random(f"{scenario.seed}/{site.name}/{modality.kind}/{modality.compression}")
    due: Iterator[float | None]
    if scenario.mode == "open":
        due = iter(list(arrivals(scenario, modality.studies_per_hour, rng)))
    else:
        due = iter([None] * modality.studies)
    studies = tuple(
        StudyPlan(next(numbers), due_s, rng.randint(*modality.instances)) for due_s in due
    )
    code = KINDS[modality.kind].modality
    title = f"{site.name[: _AE_TITLE_CHARACTERS - 1 - len(code)]}-{code}".upper()
    return LanePlan(site.name, site.gateway or gateway, title, modality, studies)


def _bounded(lanes: tuple[LanePlan, ...], instances_max: int) -> Plan:
    """Open loop: what arrives first is kept. Closed loop: every lane gives way in proportion."""
    total = sum(lane.instances for lane in lanes)
    if total <= instances_max:
        return Plan(lanes, 0)
    if any(study.due_s is not None for lane in lanes for study in lane.studies):
        kept = _earliest(lanes, instances_max)
    else:
        kept = [lane.instances * instances_max // total for lane in lanes]
    cut = tuple(_first(lane, count) for lane, count in zip(lanes, kept, strict=True) if count)
    return Plan(cut, total - sum(kept))


def _earliest(lanes: Sequence[LanePlan], instances_max: int) -> list[int]:
    """How many instances of each lane are among the studies that arrive first."""
    order = sorted(
        (study.due_s or 0.0, number, study.instances)
        for number, lane in enumerate(lanes)
        for study in lane.studies
    )
    kept = [0] * len(lanes)
    room = instances_max
    for _, number, instances in order:
        kept[number] += min(room, instances)
        room -= min(room, instances)
    return kept


def _first(lane: LanePlan, count: int) -> LanePlan:
    """The lane with its first `count` instances."""
    studies = []
    for study in lane.studies:
        taken = min(count, study.instances)
        if taken:
            studies.append(replace(study, instances=taken))
        count -= taken
    return replace(lane, studies=tuple(studies))
