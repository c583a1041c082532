"""Rows of the goals table that take hours to measure: from the newest reports of `load growth`.

Invariant: a figure taken over names its report's date, its size and, where it is another one, its
machine; nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from contracts.failures import FatalError
from load.compare.bench import Bench, Measured, Measurement
from load.compare.goals import GOALS, GROWTH
from load.report.machine import machine, machine_name
from load.report.model import Figure, Report, Verdict
from load.report.write import JSON_NAME, read_report

REPORTS_MAX = 1_000
NEXT_STEP = "run ./hilum load growth"


def growth_rows() -> Measurement:
    """Reading reports takes no time worth planning."""
    return Measurement(GROWTH, "figures of earlier growth runs", 0.5, 0, take_growth)


def take_growth(bench: Bench) -> Measured:
    """For each goal of growth its figure of the newest report that has it."""
    reports = sorted(_growth_reports(bench.reports), key=_rank)
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


def _growth_reports(directory: Path) -> Iterator[Report]:
    for path in sorted(directory.glob(f"*/{JSON_NAME}"))[-REPORTS_MAX:]:
        try:
            report = read_report(path)
        except FatalError:
            continue  # written by another version: history is who complains about it
        if report.command == GROWTH:
            yield report


def _rank(report: Report) -> tuple[bool, int, str]:
    """A full run outranks any quick one, more rows outrank fewer, then the newest."""
    rows = report.parameters.get("rows_max")
    is_full = report.parameters.get("quick") != "true"
    return is_full, rows if isinstance(rows, int) else 0, report.started_at.isoformat()


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
