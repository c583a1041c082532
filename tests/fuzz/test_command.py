"""The command of a fuzzing run: what it says, and its exit code."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.tracing import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_a_run_tells_cases_rate_and_faults(tmp_path: Path) -> None:
    ran = run("pdu", "--cases", "300", "--seed", "1", "--out", str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert "pdu: 300 cases, engine mutation, seed 1" in ran.stdout
    assert "300 cases in" in ran.stdout and "0 faults" in ran.stdout
    assert "branches:" in ran.stdout


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is not None, reason="atheris is installed here"
)
def test_a_missing_engine_is_an_error_that_says_how_to_get_it(tmp_path: Path) -> None:
    ran = run("pdu", "--cases", "1", "--engine", "atheris", "--out", str(tmp_path))
    assert ran.returncode == 2
    assert "requirements-fuzz.txt" in ran.stderr
