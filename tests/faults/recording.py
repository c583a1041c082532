"""A pytest plugin that keeps what the tests of the fault matrix reached.

    python -m pytest -p tests.faults.recording tests/faults

writes `recorded.json`, from which `docs/reliability.md` is made. Invariant: only tests that passed
in this very run are written, with its date; what was recorded of others stays.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.faults.matrix import MATRIX

RECORDED = Path(__file__).with_name("recorded.json")
KEPT = ("seed", "figure")


@dataclass
class _Reached:
    """The cases of one test in this run."""

    passed: int = 0
    failed: int = 0
    kept: dict[str, Any] = field(default_factory=dict)


_found: dict[str, _Reached] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes how a case of the matrix ended; a fixture that fails counts as a failure."""
    name = report.nodeid.partition("[")[0]
    if not any(name in row.tests + row.soak for row in MATRIX):
        return
    reached = _found.setdefault(name, _Reached())
    reached.failed += report.failed
    if report.when == "call" and report.passed:
        reached.passed += 1
        reached.kept |= {key: v for key, v in report.user_properties if key in KEPT}


def pytest_sessionfinish() -> None:
    """Writes what passed."""
    recorded = read_recorded()
    date = datetime.now(UTC).date().isoformat()
    for name, reached in _found.items():
        if reached.passed and not reached.failed:
            cases = {"cases": reached.passed} if reached.passed > 1 else {}
            recorded[name] = {"date": date, **cases, **reached.kept}
    RECORDED.write_text(json.dumps(recorded, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_recorded() -> dict[str, dict[str, Any]]:
    """What was recorded by test."""
    if not RECORDED.exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return found
