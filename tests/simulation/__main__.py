"""Runs the simulation from the command line: to repeat a failure, to run long, to measure coverage.

    python -m tests.simulation --seed 1 --examples 40
    python -m tests.simulation --seed 1 --examples 400 --defect window-not-counted
    python -m tests.simulation --coverage

Invariant: the same seed and number of examples on the same version are the same run.
"""

from __future__ import annotations

import argparse
import secrets
import sys

from tests.simulation.coverage_report import measure
from tests.simulation.planted import DEFECTS
from tests.simulation.running import run

EXAMPLES = 200


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="the run; drawn where not given")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="how many worlds")
    parser.add_argument("--defect", choices=sorted(DEFECTS), help="plant this defect first")
    parser.add_argument("--coverage", action="store_true", help="branches of what is simulated")
    given = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    if given.coverage:
        return measure(seed, given.examples)
    print(f"seed {seed}, {given.examples} worlds", flush=True)
    run(seed, given.examples, DEFECTS[given.defect].replacements if given.defect else ())
    print("every invariant held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
