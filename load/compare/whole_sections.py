"""What each process of the stack used on the whole way, as figures, tables and plots.

Invariant: a process whose time cannot be told (it was restarted) is a dash, never a zero. It must
not measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from load.compare.statistics import value_figure
from load.report.model import Figure, Plot, Section, Series, Table, Value
from load.senders import merged, quantiles_us
from load.senders.latency import QUANTILES
from load.stages import STAGES, Stage, StageRun

_MIB = 1024 * 1024
# A gigabyte of small objects is 150,000 of them: its figure says nothing that theirs does not.
_BY_GIGABYTE = ("whole.ct-4",)
_AFTER = tuple(stage for stage in STAGES if stage not in (Stage.SENT, Stage.ACKNOWLEDGED))


@dataclass(frozen=True, slots=True)
class StageCost:
    """One turn: CPU seconds by process for so many instances and bytes."""

    cell: str
    instances: int
    size_bytes: int
    cpu_s: Mapping[str, float]

    @staticmethod
    def of(cell: str, run: StageRun) -> StageCost:
        """The cost of a run."""
        used = {one.process: one.cpu_s for one in run.resources.processes if one.cpu_s is not None}
        return StageCost(cell, run.acknowledged, run.bytes_acknowledged, used)


def cost_figures(costs: Sequence[StageCost], seed: int) -> tuple[Figure, ...]:
    """CPU seconds per 1,000 instances of each process and cell, and per GB where CT is sent.

    Shown, not judged: that they fall is for `load history` to tell.
    """
    found = []
    for cell in _cells(costs):
        turns = [cost for cost in costs if cost.cell == cell]
        for process in _processes(turns):
            told = [turn for turn in turns if process in turn.cpu_s]
            name = f"cpu.{cell.removeprefix('whole.')}.{process}"
            found.append(
                value_figure(
                    f"{name}.per-1000",
                    f"CPU of {process}, {cell.removeprefix('whole.')}",
                    "s per 1,000 instances",
                    samples=[t.cpu_s[process] / t.instances * 1e3 for t in told],
                    seed=seed,
                )
            )
            if cell not in _BY_GIGABYTE:
                continue
            found.append(
                value_figure(
                    f"{name}.per-gb",
                    f"CPU of {process}, {cell.removeprefix('whole.')}",
                    "s per GB",
                    samples=[t.cpu_s[process] / t.size_bytes * 1e9 for t in told],
                    seed=seed,
                )
            )
    return tuple(found)


def whole_sections(
    costs: Sequence[StageCost], runs: Mapping[str, Sequence[StageRun]]
) -> tuple[Section, ...]:
    """Rates and times by stage, and CPU by process."""
    if not runs:
        return ()
    return (
        Section(
            "The whole way",
            "From C-STORE through a private stack with both sites. Every time is the broker's;"
            " a rate counts from the first byte sent until the last instance reached the stage.",
            tables=(_rates(runs), _times(runs), _packs(runs)),
            plots=(_times_plot(runs),),
        ),
        Section(
            "CPU by process",
            "All turns together; the sender is not in it.",
            tables=tuple(_cost_table(cell, costs) for cell in _cells(costs)),
            plots=(_cost_plot(costs),) if costs else (),
        ),
    )


def _cells(costs: Iterable[StageCost]) -> list[str]:
    return list(dict.fromkeys(cost.cell for cost in costs))


def _processes(costs: Iterable[StageCost]) -> list[str]:
    return sorted({process for cost in costs for process in cost.cpu_s})


def _rates(runs: Mapping[str, Sequence[StageRun]]) -> Table:
    stages = (Stage.ACKNOWLEDGED, *_AFTER)
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (
            name,
            sum(run.acknowledged for run in found),
            *(round(sum(run.rate(stage) for run in found) / len(found), 1) for stage in stages),
            round(
                sum(run.timeline.megabytes_per_s(Stage.INDEXED) for run in found) / len(found), 2
            ),
        )
        for name, found in runs.items()
    )
    columns = ("run", "instances", *(f"{stage.value}/s" for stage in stages), "indexed, MB/s")
    return Table("Instances per second by stage", columns, rows, "Means over the turns.")


def _times(runs: Mapping[str, Sequence[StageRun]]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name, found in runs.items():
        for stage in _AFTER:
            quantiles = quantiles_us(merged(run.timeline.latency(stage) for run in found))
            values = (round(value / 1e6, 3) for value in quantiles.values())
            rows.append((name, stage.value, *values) if quantiles else (name, stage.value))
    whole = tuple(row for row in rows if len(row) == len(QUANTILES) + 2)
    return Table("Seconds since the acknowledgement", ("run", "stage", *QUANTILES), whole)


def _packs(runs: Mapping[str, Sequence[StageRun]]) -> Table:
    rows = []
    for name, found in runs.items():
        sizes = sorted(pack.size_bytes / _MIB for run in found for pack in run.packs)
        if sizes:
            median, largest = round(sizes[len(sizes) // 2], 2), round(sizes[-1], 2)
            rows.append((name, len(found), len(sizes), median, largest))
    columns = ("run", "turns", "packs", "median, MiB", "largest, MiB")
    return Table("Packs", columns, tuple(rows))


def _times_plot(runs: Mapping[str, Sequence[StageRun]]) -> Plot:
    series = []
    for name, found in runs.items():
        quantiles = quantiles_us(merged(run.timeline.latency(Stage.INDEXED) for run in found))
        seconds = tuple(value / 1e6 for value in quantiles.values())
        series.append(Series(name, tuple(quantiles), seconds))
    return Plot(
        "Time to index", "points", "percentile", "s since the acknowledgement", tuple(series)
    )


def _cost_table(cell: str, costs: Sequence[StageCost]) -> Table:
    turns = [cost for cost in costs if cost.cell == cell]
    rows = [_cost_row(process, turns) for process in _processes(turns)]
    rows.sort(key=lambda row: -float(row[1] or 0))
    instances = sum(turn.instances for turn in turns)
    gigabytes = sum(turn.size_bytes for turn in turns) / 1e9
    return Table(
        f"CPU seconds, {cell.removeprefix('whole.')}",
        ("process", "CPU s", "per 1,000 instances", "per GB", "share"),
        tuple(rows),
        f"{instances:,} instances, {gigabytes:.2f} GB in {len(turns)} turns.",
    )


def _cost_row(process: str, turns: Sequence[StageCost]) -> tuple[Value, ...]:
    told = [turn for turn in turns if process in turn.cpu_s]
    cpu_s = sum(turn.cpu_s[process] for turn in told)
    whole = sum(sum(turn.cpu_s.values()) for turn in told)
    return (
        process,
        round(cpu_s, 2),
        round(cpu_s / sum(turn.instances for turn in told) * 1e3, 3),
        round(cpu_s / sum(turn.size_bytes for turn in told) * 1e9, 2),
        f"{cpu_s / whole:.0%}" if whole else None,
    )


def _cost_plot(costs: Sequence[StageCost]) -> Plot:
    series = []
    for cell in _cells(costs):
        turns = [cost for cost in costs if cost.cell == cell]
        processes = _processes(turns)
        instances = sum(turn.instances for turn in turns)
        used = tuple(
            sum(turn.cpu_s.get(process, 0.0) for turn in turns) / instances * 1e3
            for process in processes
        )
        series.append(Series(cell.removeprefix("whole."), tuple(processes), used))
    return Plot("CPU by process", "bar", "process", "s per 1,000 instances", tuple(series))
