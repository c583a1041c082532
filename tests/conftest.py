"""Fixtures for every test: the real engines, under names that tests do not share; one stack."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests.end_to_end.local_stack import LocalStack
from tests.engines import engine_settings, engines

__all__ = ["engine_settings", "engines", "stack"]

# An example that the machine kept waiting is no fault of ours, and a landing run has to be able to
# say the same twice: where CI is set the examples are the same in each run.
hypothesis_settings.register_profile(
    "hilum",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
hypothesis_settings.load_profile("hilum")

# All of its ports lie below the range of ephemeral ports (32768), the engines of other tests too.
PORT_OFFSET = 21_000

# A gateway speaks every 10 s; `verify` waits for its word, and the tests verify often.
# Pages of an association that stays open go out every 60 s; here one test waits for them.
QUICK = """
[gateways.north]
state_interval_s = 1.0
receipt_page_age_s = 5.0
[gateways.south]
state_interval_s = 1.0
"""


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """One running local stack for all tests of a session; its state is removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="hilum-e2e-"))
    running = LocalStack(directory / "state", PORT_OFFSET)
    overlay = directory / "quick.toml"
    overlay.write_text(QUICK)
    try:
        running.must("up", "--detach", "--settings", str(overlay))
        yield running
    finally:
        running.run("down")
        shutil.rmtree(directory, ignore_errors=True)
