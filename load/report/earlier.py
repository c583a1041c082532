"""Reports of earlier runs in the order in which their figures count.

Invariant: the last one counts most. What cannot be read is passed over: `history` is who complains
about it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path

from contracts.failures import FatalError
from load.report.model import Report
from load.report.write import JSON_NAME, read_report

REPORTS_MAX = 1_000


def earlier_reports(directory: Path) -> list[tuple[Path, Report]]:
    """Every readable report below `directory` with its file, the newest REPORTS_MAX of them."""
    found = []
    for file in sorted(directory.rglob(JSON_NAME))[-REPORTS_MAX:]:
        with suppress(FatalError):
            found.append((file, read_report(file)))
    return sorted(found, key=lambda named: _weight(named[1]))


def _weight(report: Report) -> tuple[bool, int, datetime]:
    """Quick runs count least, then those of fewer rows, then the older ones."""
    rows = report.parameters.get("rows_max")
    is_full = report.parameters.get("quick") != "true"
    return is_full, rows if isinstance(rows, int) else 0, report.started_at
