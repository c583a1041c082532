"""Runs a target's corpus, its seeds and the cases in more directories once, for coverage.

Invariant: every case runs; a fault is told on stderr and does not end the run.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path


def main(name: str, directories: list[str]) -> None:
    """Imports the target here, so that a measurement sees its modules being read."""
    from tests.fuzz.campaign import Outcome, attempt
    from tests.fuzz.targets import TARGETS

    warnings.simplefilter("ignore")
    target, outcome = TARGETS[name], Outcome()
    more = (path for directory in directories for path in sorted(Path(directory).iterdir()))
    for case in [*target.corpus(), *(path.read_bytes() for path in more if path.is_file())]:
        attempt(target.check, case, outcome)
    for fault in outcome.faults.values():
        print(f"{fault.place}: {fault.text}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
