"""Random worlds keep every invariant; a longer run of the same is behind the marker `soak`."""

from __future__ import annotations

import secrets

import pytest

from tests.simulation.running import run

EXAMPLES = 25
SOAK_EXAMPLES = 3_000


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_doubled_or_reordered_whatever_happens(seed: int) -> None:
    _run(seed, EXAMPLES)


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_nothing_is_lost_doubled_or_reordered_in_a_long_run() -> None:
    _run(secrets.randbelow(1_000_000), SOAK_EXAMPLES)


def _run(seed: int, examples: int) -> None:
    print(f"to repeat: python -m tests.simulation --seed {seed} --examples {examples}")
    run(seed, examples)
