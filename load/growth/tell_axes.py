"""The axes of sites, partitions and consumers as figures, tables and curves.

Invariant: an axis with failed points shows the others and hides none of the failures. It must not
measure anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from load.compare.statistics import ratio_figure
from load.growth.axes import AxisMeasured, Units
from load.growth.draining import Drained
from load.growth.exponent import fit
from load.growth.options import Axis
from load.report.model import Figure, Plot, Section, Series, Table, Verdict

SITES_RATIO_MAX = 1.1
ARCHIVE = "object-archive"
_MS = 1_000.0
_MEASURES: tuple[tuple[str, Callable[[Drained], float]], ...] = (
    ("publisher and consumers, CPU ms an instance", lambda d: d.cpu_s_per_instance * _MS),
    ("engines, CPU ms an instance", lambda d: d.engines_cpu_s_per_instance * _MS),
    ("instances archived and indexed a second", lambda d: d.rate),
)


def axis_figures(measured: AxisMeasured, seed: int) -> tuple[Figure, ...]:
    """The last value against the first, in CPU per instance and in rate, and the exponent."""
    values = [value for value, rounds in measured.drained.items() if rounds]
    if len(values) < 2:
        return ()
    first, last = measured.drained[values[0]], measured.drained[values[-1]]
    pairs = min(len(first), len(last))
    is_sites = measured.axis is Axis.SITES
    cost = ratio_figure(
        f"growth.{measured.axis}.cpu_ratio",
        f"CPU time per instance, {values[-1]} {measured.axis} against {values[0]}",
        "ms",
        ours=[one.cpu_s_per_instance * _MS for one in last[:pairs]],
        theirs=[one.cpu_s_per_instance * _MS for one in first[:pairs]],
        goal=SITES_RATIO_MAX if is_sites else None,
        peer=f"{values[0]} {measured.axis}",
        seed=seed,
        higher_is_better=False,
        note="publisher and consumers, the same number of instances",
    )
    rate = ratio_figure(
        f"growth.{measured.axis}.rate_ratio",
        f"instances archived and indexed a second, {values[-1]} {measured.axis}"
        f" against {values[0]}",
        "1/s",
        ours=[one.rate for one in last[:pairs]],
        theirs=[one.rate for one in first[:pairs]],
        goal=None,
        peer=f"{values[0]} {measured.axis}",
        seed=seed,
        note="a backlog; the archive's gathering of up to 2 s is in it",
    )
    return cost, rate, _exponent(measured)


def axis_section(measured: AxisMeasured) -> Section:
    """A table of medians and a curve for each measure."""
    axis = measured.axis.value
    found = {value: rounds for value, rounds in measured.drained.items() if rounds}
    rows = tuple(
        (
            value,
            len(rounds),
            rounds[0].instances,
            *(round(median(map(measure, rounds)), 3) for _, measure in _MEASURES),
        )
        for value, rounds in found.items()
    )
    columns = (axis, "rounds", "instances", *(title for title, _ in _MEASURES))
    plots = tuple(_plot(axis, title, measure, found) for title, measure in _MEASURES)
    return Section(
        f"Growing {axis}",
        "A prepared backlog through object-archive and metadata-index, from its first record to"
        " the last row in the index; consumers were warm. All share this machine's cores.",
        (Table(f"By {axis}, medians", columns, rows),),
        plots,
    )


def unit_figures(units: Units) -> tuple[Figure, ...]:
    """What `load plan` counts with."""
    small, large = units.small, units.large
    cpu_ms = small.group_cpu_s(ARCHIVE) / small.instances * _MS
    beside = large.group_cpu_s(ARCHIVE) - cpu_ms / _MS * large.instances
    per_gb = max(beside, 0.0) / large.size_bytes * 1e9
    of = f"{small.instances} instances of {small.size_bytes // small.instances:,} bytes"
    found = (
        ("archive_cpu", "object-archive, CPU per instance", "ms", cpu_ms, of),
        ("archive_cpu_per_gb", "object-archive, CPU per GB", "s", per_gb, "of 512 KiB each"),
        ("event_bytes", "event of one instance on Kafka, zstd", "B", small.event_bytes, of),
        (
            "pack_overhead",
            "pack, bytes beside the data set per instance",
            "B",
            small.pack_overhead_bytes,
            of,
        ),
    )
    return tuple(
        Figure(
            f"growth.unit.{name}",
            title,
            unit,
            Verdict.SHOWN,
            value=round(value, 3),
            note=note,
            higher_is_better=False,
        )
        for name, title, unit, value, note in found
    )


def _exponent(measured: AxisMeasured) -> Figure:
    points = [
        (float(value), one.cpu_s_per_instance)
        for value, rounds in measured.drained.items()
        for one in rounds
    ]
    law = fit([x for x, _ in points], [y for _, y in points])
    name, title = (
        f"growth.{measured.axis}.exponent",
        f"k in CPU time per instance ~ {measured.axis}^k",
    )
    if law is None:
        note = "too few points for a slope"
        return Figure(name, title, "", Verdict.NOT_MEASURED, note=note, higher_is_better=False)
    return Figure(
        name,
        title,
        "",
        Verdict.SHOWN,
        value=law.exponent,
        low=law.low,
        high=law.high,
        higher_is_better=False,
    )


def _plot(
    axis: str,
    title: str,
    measure: Callable[[Drained], float],
    found: dict[int, Sequence[Drained]],
) -> Plot:
    samples = [[measure(one) for one in rounds] for rounds in found.values()]
    series = Series(
        title,
        tuple(float(value) for value in found),
        tuple(median(values) for values in samples),
        tuple(min(values) for values in samples),
        tuple(max(values) for values in samples),
    )
    return Plot(title, "line", axis, title, (series,))
