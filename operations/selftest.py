"""`hilum test`: the peers, the linters and the whole test suite, as CI runs them; and `--soak`.

Invariant: what could not run is named, never passed over; in CI a missing peer is a failure. A
test that passed at its second try is named too.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from infra.engines.s3 import versitygw_binary
from operations import peers
from operations.context import CHECKOUT

# Debian package by the command that shows it is there.
PEERS = {
    "storescu": "dcmtk",
    "kcat": "kcat",
    "Orthanc": "orthanc",
    "dciodvfy": "dicom3tools",
}
SEED_VARIABLE, MINUTES_VARIABLE = "HILUM_FAULT_SEED", "HILUM_SOAK_MINUTES"
SEED_MAX = 2**31
# Real engines on a busy machine: one of 2,446 tests failed in a run of half an hour, another one
# each time. A failed test runs once more, told in the closing line (`1 rerun`) with its traceback;
# what is broken fails twice, and more than a few are no accident. A simulated world repeats itself.
SECOND_TRY = (
    *("--reruns", "1", "--max-suite-reruns", "4", "--rerun-show-tracebacks"),
    *("--rerun-exclude-path", "tests/simulation"),
)
PACKAGES = ("contracts", "infra", "edge_gateway", "consumers", "operations", "load", "tests")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the run and how it ended."""

    name: str
    exit_code: int
    detail: str


def run_tests(pytest_arguments: Sequence[str], tell: Callable[[str], None]) -> list[Step]:
    """Runs every step, the linters first; pytest's closing line is the last thing printed."""
    in_ci = os.environ.get("CI", "") == "true"
    steps = [_peers(tell, in_ci)]
    tell("building versitygw, the second object store of the tests (once, about 2 minutes)")
    versitygw_binary(tell)
    tell("ruff and mypy")
    files = len([p for package in PACKAGES for p in (CHECKOUT / package).rglob("*.py")])
    steps.append(_tool("ruff check", ["ruff", "check", "."], f"{files} files"))
    steps.append(_tool("ruff format", ["ruff", "format", "--check", "."], f"{files} files"))
    steps.append(_tool("mypy --strict", ["mypy", "--strict", *PACKAGES], f"{files} files"))
    for step in steps:
        tell(f"{step.name}: {'ok' if step.exit_code == 0 else 'FAILED'} ({step.detail})")
    tell("pytest")
    steps.append(_tool("pytest", ["pytest", *SECOND_TRY, *pytest_arguments], "see above"))
    return steps


def run_soak(
    minutes: int, seed: int | None, pytest_arguments: Sequence[str], tell: Callable[[str], None]
) -> list[Step]:
    """Runs every long form (marker `soak`), shown as they go; a drawn seed is told.

    Each injects its faults for `minutes` at most. Reports stay in `.hilum/reports/faults`.
    """
    chosen = random.SystemRandom().randrange(SEED_MAX) if seed is None else seed
    tell(f"faults for {minutes} min each, seed {chosen}; reports in .hilum/reports/faults")
    environment = {SEED_VARIABLE: str(chosen), MINUTES_VARIABLE: str(minutes)}
    command = ["pytest", "-m", "soak", "-s", "-v", *pytest_arguments]
    step = _tool("soak", command, f"seed {chosen}", environment)
    if step.exit_code != 0:
        tell(f"repeat it with: ./hilum test --soak --minutes {minutes} --seed {chosen}")
    return [step]


def _tool(
    name: str, command: list[str], detail: str, environment: Mapping[str, str] | None = None
) -> Step:
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=CHECKOUT,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    return Step(name, ended.returncode, detail)


def _peers(tell: Callable[[str], None], in_ci: bool) -> Step:
    missing = peers.missing(PEERS)
    if missing and peers.can_install():
        peers.install(missing, tell)
        missing = peers.missing(PEERS)
    if not missing:
        return Step("peers", 0, ", ".join(sorted(set(PEERS.values()))))
    line = peers.install_line(missing)
    return Step("peers", 1 if in_ci else 0, f"tests with them are skipped; install: {line}")
