"""What one instance and one byte cost, and who measured it.

Invariant: a cost carries its source, which is a report's file and figure or the built-in table
with its machine and date; a figure that a report could not measure never replaces one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from contracts.failures import FatalError
from load.report.earlier import earlier_reports
from load.report.model import Figure, Report, Verdict

# Other programs shared the cores that day: CPU times hold, wall times are rather too long.
_BUILT_IN = "built-in, 2 cores, 23 GB, ext4, 2026-11-22, not alone: "


@dataclass(frozen=True, slots=True)
class UnitCost:
    """One measured cost. `figure` is the report figure that replaces it, times `factor`."""

    name: str
    title: str
    value: float
    unit: str
    source: str
    figure: str = ""
    factor: float = 1.0


BUILT_IN: tuple[UnitCost, ...] = (
    UnitCost(
        "archive_cpu_ms",
        "object-archive, CPU per instance",
        0.74,
        "ms",
        _BUILT_IN + "growth, backlog of 2,000 instances of 2 KB",
        "growth.unit.archive_cpu",
    ),
    UnitCost(
        "archive_cpu_s_per_gb",
        "object-archive, CPU per GB",
        7.0,
        "s",
        _BUILT_IN + "growth, backlog of 200 instances of 524 KB",
        "growth.unit.archive_cpu_per_gb",
    ),
    UnitCost(
        "index_ms",
        "metadata-index, time per instance with 260 elements",
        1.5,
        "ms",
        _BUILT_IN + "growth, probes at 52,000 rows",
        "growth.unit.index_wall",
    ),
    UnitCost(
        "event_bytes",
        "event of one instance on Kafka, zstd",
        300.0,
        "B",
        _BUILT_IN + "growth, backlog of 2,000 instances; synthetic headers of a series are alike",
        "growth.unit.event_bytes",
    ),
    UnitCost(
        "index_bytes",
        "ClickHouse, bytes on disk per instance with 260 elements",
        710.0,
        "B",
        _BUILT_IN + "growth, 5,000 probe rows alone, merged; synthetic headers are alike",
        "growth.unit.index_bytes",
    ),
    UnitCost(
        "pack_overhead_bytes",
        "pack, bytes beside the data set per instance",
        1_650.0,
        "B",
        _BUILT_IN + "growth, packs of a backlog of 200 instances of 524 KB",
        "growth.unit.pack_overhead",
    ),
    UnitCost(
        "broker_mb_s",
        "one broker on shared cores, MB/s written or read",
        177.0,
        "MB/s",
        "built-in, 2 cores: kafka-python produce 177 to 211 MB/s, the lower one",
    ),
)


def unit_costs(reports: Path | None) -> Mapping[str, UnitCost]:
    """The costs by name: from the newest reports below `reports`, else built in.

    Raises FatalError when the directory is none.
    """
    if reports is None:
        return {cost.name: cost for cost in BUILT_IN}
    found = _newest_figures(_reports_below(reports))
    return {cost.name: _measured(cost, found) for cost in BUILT_IN}


def _measured(cost: UnitCost, found: Mapping[str, tuple[str, Figure]]) -> UnitCost:
    if cost.figure not in found:
        return cost
    file, figure = found[cost.figure]
    assert figure.value is not None
    source = f"{file}: {figure.name}"
    return replace(cost, value=figure.value * cost.factor, source=source)


def _newest_figures(reports: Sequence[tuple[str, Report]]) -> Mapping[str, tuple[str, Figure]]:
    wanted = {cost.figure for cost in BUILT_IN if cost.figure}
    newest: dict[str, tuple[str, Figure]] = {}
    for file, report in reports:
        for figure in report.figures:
            is_measured = figure.verdict is not Verdict.NOT_MEASURED and (figure.value or 0) > 0
            if figure.name in wanted and is_measured:
                newest[figure.name] = (file, figure)
    return newest


def _reports_below(directory: Path) -> list[tuple[str, Report]]:
    if not directory.is_dir():
        raise FatalError(f"{directory} is no directory", "name one that holds reports")
    return [(str(file.relative_to(directory)), one) for file, one in earlier_reports(directory)]
