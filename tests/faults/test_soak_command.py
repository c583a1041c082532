"""`hilum test --soak`: what it selects, and what it says when something fails."""

from __future__ import annotations

import subprocess
import sys

import pytest

from operations.selftest import run_soak
from tests.faults.matrix import MATRIX
from tests.faults.pipeline import ROOT

LIST = ["--collect-only", "-q"]
LIST_LESS = [*LIST, "-q", "tests/faults"]  # the command is verbose by itself
COLLECT_S = 240.0


def test_long_forms_run_when_they_are_asked_for_and_only_then(
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = [sys.executable, "-m", "pytest", *LIST, "tests/faults"]
    subprocess.run(command, cwd=ROOT, timeout=COLLECT_S, check=True)
    plain = capfd.readouterr().out.splitlines()
    told: list[str] = []
    (step,) = run_soak(2, 7, LIST_LESS, told.append)
    long = capfd.readouterr().out.splitlines()
    assert step.exit_code == 0 and "seed 7" in told[0]
    ours = {test for row in MATRIX for test in row.soak if test.startswith("tests/faults/")}
    assert ours
    for test in ours:
        assert any(line.startswith(test) for line in long)
        assert not any(line.startswith(test) for line in plain)
    assert any("test_lab_runs" in line for line in plain)
    assert not any("test_lab_runs" in line for line in long)


def test_a_failure_prints_the_command_that_repeats_it() -> None:
    told: list[str] = []
    (bad,) = run_soak(2, 8, ["--no-such-option"], told.append)
    assert bad.exit_code != 0
    assert told[-1] == "repeat it with: ./hilum test --soak --minutes 2 --seed 8"
