"""Fixtures of the laboratory: the seed of a test, and the command that repeats one that failed."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from infra.settings import Settings
from operations.context import DEFAULT_STATE_DIRECTORY
from operations.selftest import MINUTES_VARIABLE, SEED_VARIABLE
from tests.faults.laboratory import Laboratory, laboratory

SEED = 20260102
MINUTES = 5
# Setting up, settling and judging come on top of a long test's own minutes.
AROUND_S = 1_800
REPORTS = DEFAULT_STATE_DIRECTORY / "reports" / "faults"


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of this run; the environment names another one."""
    found = int(os.environ.get(SEED_VARIABLE, SEED))
    print(f"seed {found}")
    return found


@pytest.fixture(scope="session")
def minutes() -> int:
    """How long each long test injects its faults."""
    return _minutes()


@pytest.fixture(scope="module")
def lab(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """A laboratory for the tests of one module; reports stay behind a test run."""
    directory: Path = tmp_path_factory.mktemp("laboratory")
    with laboratory(engines, directory, REPORTS) as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests may take as long as their minutes ask for."""
    for item in items:
        if item.get_closest_marker("soak") is not None:
            item.add_marker(pytest.mark.timeout(4 * 60 * _minutes() + AROUND_S))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows, below a failure, the command that repeats it with its seed."""
    report = yield
    seed_used = getattr(item, "funcargs", {}).get("seed")
    if report.failed and seed_used is not None:
        is_soak = item.get_closest_marker("soak") is not None
        selection = " -m soak -s" if is_soak else ""
        command = f"{SEED_VARIABLE}={seed_used} python -m pytest '{item.nodeid}'{selection}"
        report.sections.append(("repeat it with", command))
    return report


def _minutes() -> int:
    return int(os.environ.get(MINUTES_VARIABLE, MINUTES))
