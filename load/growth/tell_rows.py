"""The axis of rows as figures, tables and curves.

Invariant: a goal that is set for ten million rows is judged as met at that many rows only; below
it a figure is shown. It must not measure anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import median

from load.compare.statistics import ratio_figure, value_figure, verdict
from load.growth.exponent import EXPONENT_MAX, PowerLaw, fit
from load.growth.index import ProbeCost
from load.growth.questions import QUESTIONS, QueryTimes
from load.growth.rows import Grown, SizeMeasured
from load.report.model import Figure, Plot, Section, Series, Table, Value, Verdict

# For how many rows the goals are set (05-performance).
GOAL_ROWS = 10_000_000
RATIO_MAX = 1.1
DECADE = 10.0
_MS = 1_000.0
_COSTS: tuple[tuple[str, Callable[[ProbeCost], float]], ...] = (
    ("wall", lambda probe: probe.wall_s),
    ("CPU", lambda probe: probe.cpu_s),
    ("inserts", lambda probe: probe.insert_s),
    ("composition", lambda probe: probe.compose_s),
    ("describing headers", lambda probe: probe.prepare_s),
)


def rows_figures(grown: Grown, seed: int) -> tuple[Figure, ...]:
    """Cost ratios over a decade of rows, the exponent, and every question's time."""
    largest = grown.measured[-1]
    judged = largest.rows_wanted >= GOAL_ROWS
    figures = [*_ratios(grown.measured, seed), _exponent(grown.measured)]
    figures += [_answer_time(times, largest, seed) for times in largest.queries]
    units = _units(grown, seed)
    return (*(figure if judged else _shown(figure) for figure in figures), *units)


def rows_sections(grown: Grown) -> tuple[Section, ...]:
    """What writing costs, what asking costs, and what filling showed on the way."""
    return (_writing(grown), _asking(grown.measured), _filling(grown.measured[-1]))


def query_percentile(times: QueryTimes, share: float) -> float:
    """Seconds within which that share of the answers came."""
    ordered = sorted(times.seconds)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _ratios(measured: Sequence[SizeMeasured], seed: int) -> Iterator[Figure]:
    largest = measured[-1]
    tenth = min(measured, key=lambda one: abs(one.rows_wanted - largest.rows_wanted / DECADE))
    if tenth is largest:
        return
    for name, cost in _COSTS[:2]:
        yield ratio_figure(
            f"growth.rows.{name.lower()}_ratio",
            f"{name} time per instance written, {_count(largest)} against {_count(tenth)} rows",
            "ms",
            ours=[cost(probe) * _MS for probe in largest.probes],
            theirs=[cost(probe) * _MS for probe in tenth.probes],
            goal=RATIO_MAX,
            peer=f"{_count(tenth)} rows",
            seed=seed,
            higher_is_better=False,
            note="batches of instances with 260 elements, both sizes in turns",
        )


def _exponent(measured: Sequence[SizeMeasured]) -> Figure:
    law = _law(measured, lambda probe: probe.cpu_s)
    blank = Figure(
        "growth.rows.exponent",
        "k in CPU time per instance ~ rows^k",
        "",
        Verdict.NOT_MEASURED,
        goal=f"≤ {EXPONENT_MAX:.3f}",
        note="a tenfold index then costs 1.1 times as much an instance",
        higher_is_better=False,
    )
    if law is None:
        return replace(blank, note="too few sizes for a slope")
    decided = verdict(law.low, law.high, EXPONENT_MAX, higher_is_better=False)
    return replace(blank, verdict=decided, value=law.exponent, low=law.low, high=law.high)


def _law(measured: Sequence[SizeMeasured], cost: Callable[[ProbeCost], float]) -> PowerLaw | None:
    points = [(float(one.size.rows), cost(probe)) for one in measured for probe in one.probes]
    return fit([rows for rows, _ in points], [seconds for _, seconds in points])


def _answer_time(times: QueryTimes, largest: SizeMeasured, seed: int) -> Figure:
    question = next(one for one in QUESTIONS if one.name == times.name)
    return value_figure(
        f"growth.query.{times.name}",
        f"{question.title}, {_count(largest)} rows, median",
        "ms",
        samples=[seconds * _MS for seconds in times.seconds],
        goal_max=question.goal_s * _MS or None,
        average="median",
        seed=seed,
        note=f"p90 {query_percentile(times, 0.9) * _MS:.0f} ms, {times.rows_median:.0f} rows",
    )


def _median_and_p90(times: QueryTimes) -> str:
    return f"{median(times.seconds) * _MS:.0f} ms, {query_percentile(times, 0.9) * _MS:.0f} ms"


def _units(grown: Grown, seed: int) -> tuple[Figure, ...]:
    """What `load plan` counts with."""
    return (
        value_figure(
            "growth.unit.index_wall",
            "metadata-index, time per instance with 260 elements",
            "ms",
            samples=[probe.wall_s * _MS for probe in grown.measured[-1].probes],
            average="median",
            seed=seed,
        ),
        Figure(
            "growth.unit.index_bytes",
            "ClickHouse, bytes on disk per instance with 260 elements",
            "B",
            Verdict.SHOWN,
            value=round(grown.bytes_on_disk_full),
            note="an index of probes alone, merged",
            higher_is_better=False,
        ),
    )


def _shown(figure: Figure) -> Figure:
    if figure.verdict not in (Verdict.MET, Verdict.UNDECIDED):
        return figure
    note = f"{figure.note}; the goal is for {GOAL_ROWS:,} rows"
    return replace(figure, verdict=Verdict.SHOWN, note=note)


def _writing(grown: Grown) -> Section:
    measured = grown.measured
    law = _law(measured, lambda probe: probe.cpu_s)
    if grown.rows_found:
        begun = f"{grown.rows_found:,} rows were there from an earlier run"
    else:
        begun = "The indexes were empty at the beginning"
    text = (
        f"{begun}; {grown.rows_filled:,} were filled now. Each size is a database of its own in one"
        " engine. Probes are batches of 1,000 instances with full headers, written as they come in"
        " production: received first, archived afterwards."
    )
    columns = ("rows", *(f"{name}, ms" for name, _ in _COSTS), "bytes on disk a row", "parts")
    rows = tuple(
        (
            one.size.rows,
            *(round(median(map(cost, one.probes)) * _MS, 3) for _, cost in _COSTS),
            round(one.size.bytes_on_disk / max(one.size.rows, 1)),
            one.size.parts,
        )
        for one in measured
    )
    curves = [_curve(measured, name, cost) for name, cost in _COSTS]
    if law is not None:
        xs = tuple(float(one.size.rows) for one in measured)
        label = f"fitted CPU ~ rows^{law.exponent:.3f}"
        curves.append(Series(label, xs, tuple(law.at(x) * _MS for x in xs)))
    return Section(
        "Cost of an instance while the index grows",
        text,
        (Table("Per instance, medians", columns, rows, "rows on disk have short headers"),),
        (_plot("Time per instance", "ms", curves),),
    )


def _asking(measured: Sequence[SizeMeasured]) -> Section:
    titles = {question.name: question.title for question in QUESTIONS}
    by_name = {
        name: [next(q for q in one.queries if q.name == name) for one in measured]
        for name in titles
    }
    columns = ("question", *(f"{_count(one)} rows: median, p90" for one in measured), "rows")
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (titles[name], *map(_median_and_p90, times), times[-1].rows_median)
        for name, times in by_name.items()
    )
    curves = [
        Series(
            titles[name],
            tuple(float(one.size.rows) for one in measured),
            tuple(median(t.seconds) * _MS for t in times),
        )
        for name, times in by_name.items()
    ]
    return Section(
        "Answers while the index grows",
        "Each question is asked with keys drawn at random, from the call to the last row.",
        (Table("Seconds to the last row", columns, rows),),
        (_plot("Time to answer, median", "ms", curves),),
    )


def _filling(largest: SizeMeasured) -> Section:
    slices = [piece for piece in largest.slices if piece.rows_to > piece.rows_from]
    xs = tuple(float(piece.rows_to) for piece in slices)
    counts = [piece.rows_to - piece.rows_from for piece in slices]
    cpu = tuple(p.cpu_s / n * _MS for p, n in zip(slices, counts, strict=True))
    wall = tuple(p.wall_s / n * _MS for p, n in zip(slices, counts, strict=True))
    whole = [(x, y) for x, y, p in zip(xs, cpu, slices, strict=True) if p.is_whole]
    law = fit([x for x, _ in whole], [y for _, y in whole])
    text = (
        "While the largest index was filled: CPU of writer and engine, merging in the background"
        " included, headers of thirty elements, both halves in one batch of 5,000, two writers."
    )
    if law is not None:
        text += f" CPU ~ rows^{law.exponent:.3f} ({law.low:.3f} to {law.high:.3f})."
    curves = [Series("CPU", xs, cpu), Series("wall", xs, wall)]
    return Section("Filling", text, (), (_plot("Time per row while filling", "ms", curves),))


def _curve(
    measured: Sequence[SizeMeasured],
    name: str,
    cost: Callable[[ProbeCost], float],
) -> Series:
    found = [[cost(probe) * _MS for probe in one.probes] for one in measured]
    return Series(
        name,
        tuple(float(one.size.rows) for one in measured),
        tuple(median(values) for values in found),
        tuple(min(values) for values in found),
        tuple(max(values) for values in found),
    )


def _plot(title: str, unit: str, curves: Sequence[Series]) -> Plot:
    return Plot(title, "line", "rows in the index", unit, tuple(curves), log_x=True)


def _count(one: SizeMeasured) -> str:
    return f"{one.size.rows:,}"
