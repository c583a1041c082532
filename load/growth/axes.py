"""The axes of sites, partitions and consumers: which points are drained, and how often.

Invariant: one axis grows while the others stay, and rounds go through all points of an axis in
turns, so that a slow minute of the machine meets all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from contracts.failures import RetryableError
from load.compare.bench import alternating
from load.growth.draining import Bench, Drained, Point, drain
from load.growth.options import Axis, GrowthOptions
from load.growth.processes import engines
from load.progress import Progress
from load.report.model import Failure

ENGINES = ("kafka", "minio-primary", "clickhouse-primary")
BASE = Point(sites=2, partitions=6, consumers=1)


@dataclass(frozen=True, slots=True)
class AxisPlan:
    """The values of one axis, and how many rounds go through them."""

    values: tuple[int, ...]
    rounds: int


FULL: Mapping[Axis, AxisPlan] = {
    Axis.SITES: AxisPlan((1, 2, 4, 8), 5),
    Axis.PARTITIONS: AxisPlan((1, 3, 6, 12, 24), 3),
    Axis.CONSUMERS: AxisPlan((1, 2, 4), 3),
}
QUICK: Mapping[Axis, AxisPlan] = {
    Axis.SITES: AxisPlan((1, 8), 3),
    Axis.PARTITIONS: AxisPlan((1, 24), 1),
    Axis.CONSUMERS: AxisPlan((1, 4), 1),
}


# Objects as large as a CT slice, to tell what bytes cost from what instances cost.
LARGE_PIXEL_BYTES, LARGE_INSTANCES = 524_288, 200


@dataclass(frozen=True, slots=True)
class Units:
    """The same backlog of small objects and of large ones, on the base point."""

    small: Drained
    large: Drained


@dataclass(frozen=True, slots=True)
class AxesMeasured:
    """What all axes told. `units` is None where they could not be measured."""

    axes: tuple[AxisMeasured, ...] = ()
    units: Units | None = None
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class AxisMeasured:
    """One axis: its values, and each value's rounds in order."""

    axis: Axis
    drained: Mapping[int, Sequence[Drained]]
    failures: tuple[Failure, ...]


def grow_axes(options: GrowthOptions, directory: Path, progress: Progress) -> AxesMeasured:
    """Every chosen axis but rows, and unit costs, on engines of their own under `directory`.

    A point that cannot be drained is a failure of the report. Raises FatalError, RetryableError
    (the engines do not start).
    """
    plans = QUICK if options.is_quick else FULL
    chosen = [axis for axis in plans if axis in options.axes]
    if not chosen:
        return AxesMeasured()
    directory.mkdir(parents=True, exist_ok=True)
    progress.stage("starting Kafka, the object store and ClickHouse")
    with engines(directory, ENGINES) as (settings, running):
        bench = Bench(settings, running, directory, options.seed)
        axes = tuple(_grow(axis, plans[axis], bench, options, progress) for axis in chosen)
        failures = [failure for axis in axes for failure in axis.failures]
        progress.stage("unit costs", 2, "backlogs")
        try:
            units = _units(bench, options)
        except RetryableError as cause:
            return AxesMeasured(axes, None, (*failures, Failure("unit costs", str(cause), 1)))
        return AxesMeasured(axes, units, tuple(failures))


def point_of(axis: Axis, value: int) -> Point:
    """The base point with one of its values changed."""
    if axis is Axis.SITES:
        return Point(value, BASE.partitions, BASE.consumers)
    if axis is Axis.PARTITIONS:
        return Point(BASE.sites, value, BASE.consumers)
    return Point(BASE.sites, BASE.partitions, value)


def _units(bench: Bench, options: GrowthOptions) -> Units:
    small = drain(bench, BASE, options.events)
    large = drain(bench, replace(BASE, pixel_bytes=LARGE_PIXEL_BYTES), LARGE_INSTANCES)
    return Units(small, large)


def _grow(
    axis: Axis, plan: AxisPlan, bench: Bench, options: GrowthOptions, progress: Progress
) -> AxisMeasured:
    progress.stage(f"growing {axis.value}", plan.rounds * len(plan.values), "backlogs")
    drained: dict[int, list[Drained]] = {value: [] for value in plan.values}
    failures = []
    for value in alternating(plan.values, plan.rounds):
        point = point_of(axis, value)
        try:
            drained[value].append(drain(bench, point, options.events))
        except RetryableError as cause:
            failures.append(Failure(f"{axis.value} = {value}", str(cause), 1))
        progress.advance()
    return AxisMeasured(axis, drained, tuple(failures))
