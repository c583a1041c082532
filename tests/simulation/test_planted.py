"""The simulation finds each defect that is planted into the product, within its bound of worlds."""

from __future__ import annotations

import pytest

from tests.simulation.planted import DEFECTS, Defect
from tests.simulation.running import run

SEED = 1


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS.keys())
def test_a_planted_defect_is_found(defect: Defect) -> None:
    command = f"--seed {SEED} --examples {defect.examples} --defect {defect.name}"
    print(f"to repeat: python -m tests.simulation {command}")
    with pytest.raises(AssertionError) as found:
        run(SEED, defect.examples, defect.replacements, shrinks=False)
    print(f"{defect.tells}: found as {str(found.value).splitlines()[0]}")


def test_there_are_ten_and_more() -> None:
    assert len(DEFECTS) >= 10
