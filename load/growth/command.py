"""`hilum load growth`: every axis measured, and the report of it.

Invariant: what was filled under a named directory stays there for the next run, what was put into
a temporary one is gone; nothing but engines of its own is touched.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from load.growth.axes import grow_axes
from load.growth.options import Axis, GrowthOptions
from load.growth.rows import Grown, grow_rows
from load.growth.tell_axes import axis_figures, axis_section, unit_figures
from load.growth.tell_rows import rows_figures, rows_sections
from load.progress import Progress
from load.report.machine import machine, versions
from load.report.model import Report

VERSIONS = ("chdb", "clickhouse-connect", "kafka-python", "numpy", "scipy")


def run_growth(options: GrowthOptions, progress: Progress) -> Report:
    """Measures the chosen axes. Raises FatalError, RetryableError (an engine does not start)."""
    started_at, began = datetime.now(UTC), time.perf_counter()
    grown: Grown | None = None
    with _directory(options) as directory:
        described = machine(directory)
        if Axis.ROWS in options.axes:
            grown = grow_rows(options, directory / "rows", progress)
        with tempfile.TemporaryDirectory(prefix="hilum-growth-") as passing:
            axes = grow_axes(options, Path(passing), progress)
    figures = (
        *(rows_figures(grown, options.seed) if grown else ()),
        *(figure for axis in axes.axes for figure in axis_figures(axis, options.seed)),
        *(unit_figures(axes.units) if axes.units else ()),
    )
    failures = axes.failures
    return Report(
        command="growth",
        seed=options.seed,
        started_at=started_at,
        seconds=time.perf_counter() - began,
        ok=not failures,  # like `compare`: an instrument tells, a missed goal is an answer
        machine=described,
        versions=versions(*VERSIONS),
        parameters={
            "rows_max": options.rows_max,
            "axes": ", ".join(options.axes),
            "events": options.events,
            "quick": str(options.is_quick).lower(),
        },
        figures=figures,
        sections=(
            *(rows_sections(grown) if grown else ()),
            *(axis_section(axis) for axis in axes.axes),
        ),
        failures=failures,
    )


@contextmanager
def _directory(options: GrowthOptions) -> Iterator[Path]:
    if options.directory is not None:
        options.directory.mkdir(parents=True, exist_ok=True)
        yield options.directory
        return
    with tempfile.TemporaryDirectory(prefix="hilum-growth-") as passing:
        yield Path(passing)
