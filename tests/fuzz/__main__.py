"""`python -m tests.fuzz pdu|scan`: a bounded fuzzing run, and what it says.

Invariant: exit code 0 means that every case did as it should; each fault's bytes are saved and
named. Needs no network; only guided runs and branch figures need packages beyond the tests'.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import warnings
from pathlib import Path

from tests.fuzz import campaign
from tests.fuzz.engines import FileBranches, MissingPackage, branches, kept_bytes, run_guided
from tests.fuzz.minimise import keep, minimise
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Exit code 0: no fault; 1: faults; 2: something is missing."""
    options = _options()
    target = TARGETS[options.target]
    directory = Path(options.out) / target.name
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    print(f"{target.name}: {options.cases} cases, engine {options.engine}, seed {options.seed}")
    try:
        run = _guided if options.engine == "atheris" else _mutated
        faults = run(target, options.cases, options.seed, directory) if options.cases else 0
        if options.minimise:
            _keep(target, directory / "found")
    except MissingPackage as missing:
        print(missing, file=sys.stderr)
        return 2
    _report_branches(target, [] if options.minimise else [directory / "found"])
    return 1 if faults else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--cases", type=int, default=100_000, help="0: only report")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 2**31))
    parser.add_argument("--engine", choices=("mutation", "atheris"), default="mutation")
    parser.add_argument("--out", default=".hilum/fuzz-runs", help="faults and found cases")
    parser.add_argument(
        "--minimise", action="store_true", help="keep the few found cases that add something"
    )
    return parser.parse_args()


def _mutated(target: Target, cases: int, seed: int, directory: Path) -> int:
    outcome = campaign.run(target, cases, seed, progress=_tell_progress)
    _tell_progress(outcome)
    print(
        f"steps and memory counted for {outcome.costs_counted} cases,"
        f" {outcome.steps_max} steps at most"
    )
    faults = list(outcome.faults.values())
    for fault, path in zip(faults, campaign.save(faults, directory), strict=True):
        print(f"FAULT {fault.place}: {fault.text}\n      saved as {path}")
    return len(faults)


def _tell_progress(outcome: campaign.Outcome) -> None:
    print(
        f"  {outcome.cases} cases in {outcome.seconds:.0f} s,"
        f" {outcome.cases_per_s:.0f} a second, {len(outcome.faults)} faults",
        flush=True,
    )


def _guided(target: Target, cases: int, seed: int, directory: Path) -> int:
    runs, seconds, code = run_guided(target, cases, seed, directory / "found", _tell_line)
    print(f"  {runs} cases in {seconds} s, {runs / max(1, seconds):.0f} a second, exit code {code}")
    faults = sorted(directory.glob("fault-*"))
    for path in faults:
        print(f"FAULT saved as {path}")
    return len(faults) or code


def _tell_line(line: str) -> None:
    if "pulse" in line or "Error" in line or "Violation" in line or "Done" in line:
        print("  " + line, flush=True)


def _keep(target: Target, found: Path) -> None:
    new = [path.read_bytes() for path in sorted(found.iterdir())] if found.is_dir() else []
    paths = keep(target, minimise(target, [*target.corpus(), *new]))
    print(f"kept {len(paths)} cases of {kept_bytes(target)} bytes, of {len(new)} new ones")


def _report_branches(target: Target, more: list[Path]) -> None:
    try:
        _tell_branches(branches(target, [path for path in more if path.is_dir()]))
    except MissingPackage as missing:
        print(f"branches: not measured: {missing}")


def _tell_branches(files: list[FileBranches]) -> None:
    covered, total = sum(f.covered for f in files), sum(f.total for f in files)
    for file in files:
        part = 100 * file.covered / file.total if file.total else 100
        missing = ", ".join(f"{line}->{to if to > 0 else 'exit'}" for line, to in file.missing)
        print(f"  {part:5.1f} %  {file.covered:3}/{file.total:<3}  {file.path}  {missing}")
    print(f"branches: {covered} of {total}, {100 * covered / max(1, total):.1f} %")


if __name__ == "__main__":
    sys.exit(main())
