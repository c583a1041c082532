"""How many worlds are run, from which seed, and what a faulty one leaves to repeat it by.

Invariant: seed and number of examples decide the run on one version; nothing is remembered
between two runs.
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.machine import Delivery
from tests.simulation.stepped import Replacements

STEPS_MAX = 40


def run(
    seed_number: int, examples: int, planted: Replacements = (), *, shrinks: bool = True
) -> None:
    """Runs so many worlds; raises what the first faulty one met, made small where `shrinks`."""
    kind = type("Delivery", (Delivery,), {"planted": planted})
    phases = (Phase.generate, Phase.shrink) if shrinks else (Phase.generate,)
    run_state_machine_as_test(
        seed(seed_number)(kind),
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS_MAX,
            phases=phases,
            deadline=None,
            database=None,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
