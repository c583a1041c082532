"""`hilum load plan`: partitions, brokers, disks, retention and lines on paper.

Invariant: every row names its formula and its measurement; nothing is measured here and no
engine is asked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from load.planning.flow import PlanRow
from load.planning.options import PlanOptions
from load.planning.sizing import plan
from load.planning.unit_costs import UnitCost, unit_costs
from load.progress import Progress
from load.report.machine import machine, versions
from load.report.model import Failure, Figure, Report, Section, Table, Verdict

__all__ = ["PlanOptions", "run_plan"]

LINE_USE_MAX = 100.0


def run_plan(options: PlanOptions, progress: Progress) -> Report:
    """The plan as a report; not `ok` when the line that is there does not bear it.

    Raises FatalError (the reports' directory is none, or holds what is no report).
    """
    started_at, began = datetime.now(UTC), time.perf_counter()
    progress.stage("planning")
    costs = unit_costs(options.reports)
    rows = plan(options, costs)
    failures = tuple(_overloads(rows))
    return Report(
        command="plan",
        seed=options.seed,
        started_at=started_at,
        seconds=time.perf_counter() - began,
        ok=not failures,
        machine=machine(),
        versions=versions(),
        parameters=_parameters(options),
        figures=tuple(_figure(row, costs) for row in rows),
        sections=(_sizes(rows, costs), _costs(costs)),
        failures=failures,
    )


def _parameters(options: PlanOptions) -> Mapping[str, float | int | str | None]:
    return {
        "sites": options.sites,
        "studies_per_day": options.studies_per_day,
        "instances_per_study": options.instances_per_study,
        "size_kb": options.size_kb,
        "peak_hour_share": options.peak_hour_share,
        "largest_site_share": options.site_share,
        "growth_per_year": options.growth_per_year,
        "years": options.years,
        "payload_hours": options.payload_hours,
        "outage_hours": options.outage_hours,
        "hold_hours": options.hold_hours,
        "catch_up_hours": options.catch_up_hours,
        "wan_mbit": options.wan_mbit,
        "dr": str(options.dr).lower(),
        "replication_factor": options.replication_factor,
        "load_max": options.load_max,
        "broker_disk_tb": options.broker_disk_tb,
    }


def _figure(row: PlanRow, costs: Mapping[str, UnitCost]) -> Figure:
    return Figure(
        name=f"plan.{row.name}",
        title=row.title,
        unit=row.unit,
        verdict=Verdict.SHOWN,
        value=row.value,
        note=f"{row.formula}; {_sources(row, costs)}",
        higher_is_better=False,
    )


def _sources(row: PlanRow, costs: Mapping[str, UnitCost]) -> str:
    if not row.measured:
        return "arithmetic on what was asked"
    return "; ".join(
        f"{costs[name].value:g} {costs[name].unit} ({costs[name].source})" for name in row.measured
    )


def _sizes(rows: Sequence[PlanRow], costs: Mapping[str, UnitCost]) -> Section:
    table = Table(
        "Sizes",
        ("what", "value", "unit", "formula", "measurement"),
        tuple(
            (row.title, _rounded(row.value), row.unit, row.formula, _sources(row, costs))
            for row in rows
        ),
    )
    return Section("The plan", "For the last year planned, in its busiest hour.", (table,))


def _costs(costs: Mapping[str, UnitCost]) -> Section:
    rows = tuple((one.title, one.value, one.unit, one.source) for one in costs.values())
    table = Table("Unit costs", ("what", "value", "unit", "measured by"), rows)
    text = "A newer report of `growth` below the reports' directory replaces what is built in."
    return Section("Unit costs", text, (table,))


def _overloads(rows: Sequence[PlanRow]) -> list[Failure]:
    return [
        Failure("line of the busiest site", f"needs {row.value:.0f} % of what is there", 1)
        for row in rows
        if row.name == "wan_use" and row.value > LINE_USE_MAX
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}") if value < 10_000 else round(value)
