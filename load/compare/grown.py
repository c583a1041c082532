"""Rows of the goals table that take hours to measure: from the newest reports of `load growth`.

Invariant: a figure taken over names its report's date, its size and, where it is another one, its
machine; nothing is measured here.
"""

from __future__ import annotations

from dataclasses import replace

from load.compare.bench import Bench, Measured, Measurement
from load.compare.goals import GOALS, GROWTH
from load.report.earlier import earlier_reports
from load.report.machine import machine, machine_name
from load.report.model import Figure, Report, Verdict

NEXT_STEP = "run ./hilum load growth"


def growth_rows() -> Measurement:
    """Reading reports takes no time worth planning."""
    return Measurement(GROWTH, "figures of earlier growth runs", 0.5, 0, take_growth)


def take_growth(bench: Bench) -> Measured:
    """For each goal of growth its figure of the newest report that has it."""
    reports = [one for _, one in earlier_reports(bench.reports) if one.command == GROWTH]
    here = machine_name(machine())
    figures, absent = [], {}
    for goal in GOALS:
        if goal.measurement != GROWTH:
            continue
        found = [(report, figure) for report in reports if (figure := _of(report, goal.name))]
        if found:
            figures.append(_told(*found[-1], here))
        else:
            absent[goal.name] = NEXT_STEP
    return Measured(figures=tuple(figures), absent=absent)


def _of(report: Report, name: str) -> Figure | None:
    return next(
        (
            figure
            for figure in report.figures
            if figure.name == name and figure.verdict is not Verdict.NOT_MEASURED
        ),
        None,
    )


def _told(report: Report, figure: Figure, here: str) -> Figure:
    told = f"growth report of {report.started_at:%Y-%m-%d %H:%M} UTC"
    rows = report.parameters.get("rows_max")
    if isinstance(rows, int):
        told += f", up to {rows:,} rows"
    there = machine_name(report.machine)
    if there != here:
        told += f", on another machine ({there})"
    return replace(figure, note="; ".join(filter(None, (told, figure.note))))
