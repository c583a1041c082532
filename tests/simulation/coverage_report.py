"""Branch coverage of the state machines that are simulated, module by module.

Invariant: what counts is what the simulation's own tests run, in a process of its own; the modules
are named here, and one that stays below the bound fails the run. Needs the package `coverage`,
which is pinned in requirements-fuzz.txt.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

PERCENT_MIN = 95.0
ROOT = Path(__file__).resolve().parents[2]
# What the simulation drives as it is. The spool's committer and supply, whose threads and
# deadlines are the point of them, are driven without those, and are not claimed here.
SIMULATED = (
    "consumers/announce.py",
    "consumers/archive_outcome.py",
    "consumers/dead_letter.py",
    "consumers/gather.py",
    "consumers/object_archive.py",
    "consumers/pack_groups.py",
    "consumers/runner.py",
    "edge_gateway/custody.py",
    "edge_gateway/delivery_queue.py",
    "edge_gateway/flight.py",
    "edge_gateway/gateway_requests.py",
    "edge_gateway/progress.py",
    "edge_gateway/progress_receipts.py",
    "edge_gateway/publish.py",
    "edge_gateway/receipts.py",
    "edge_gateway/retention.py",
    "edge_gateway/spool/ledger.py",
    "edge_gateway/spool/log.py",
    "edge_gateway/spool/reader.py",
    "edge_gateway/spool/record.py",
    "edge_gateway/spool/recovery.py",
    "edge_gateway/spool/release.py",
    "edge_gateway/spool/remnant.py",
    "edge_gateway/spool/segment.py",
    "edge_gateway/spool/sink.py",
    "edge_gateway/spool/tail.py",
    "edge_gateway/spool_feed.py",
)
TESTS = (
    "corners",
    "corners_archive",
    "corners_centre",
    "corners_disk",
    "corners_rot",
    "corners_runner",
    "found_defects",
)
_MISSING = """coverage is not installed. Next step:
    python -m pip install --target DIR --require-hashes -r requirements-fuzz.txt
    PYTHONPATH=DIR python -m tests.simulation --coverage"""


def measure(seed: int, examples: int) -> int:
    """Runs the simulation's tests and worlds under coverage; 0 where the bound is kept.

    The planted defects stay out: what runs only because of one is no behaviour of the product.
    """
    if importlib.util.find_spec("coverage") is None:
        print(_MISSING, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="hilum-coverage-") as directory:
        data = Path(directory) / "data"
        include = ",".join(SIMULATED)
        tests = [str(ROOT / "tests/simulation" / f"test_{n}.py") for n in TESTS]
        worlds = ("-m", "tests.simulation", "--seed", str(seed), "--examples", str(examples))
        for arguments in (worlds, ("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)):
            _coverage(data, "run", "--append", "--branch", f"--include={include}", *arguments)
        report = Path(directory) / "report.json"
        _coverage(data, "json", "-q", "-o", str(report))
        return _tell(json.loads(report.read_text()), seed, examples)


def _coverage(data: Path, command: str, *arguments: str) -> None:
    line = [sys.executable, "-m", "coverage", command, f"--data-file={data}", *arguments]
    subprocess.run(line, cwd=ROOT, check=True)


def _tell(
    report: dict[str, dict[str, dict[str, dict[str, float]]]], seed: int, examples: int
) -> int:
    below = []
    branches = taken = 0
    print(f"branch coverage, seed {seed}, {examples} worlds and the tests of corners")
    for name in SIMULATED:
        found = report["files"].get(name)
        if found is None:
            below.append(f"{name}: not run")
            continue
        summary = found["summary"]
        branches += int(summary["num_branches"])
        taken += int(summary["covered_branches"])
        branches_here = summary["num_branches"]
        share = 100.0 * summary["covered_branches"] / branches_here if branches_here else 100.0
        print(f"{share:6.1f} % of {int(summary['num_branches']):3d}  {name}")
        missing = found.get("missing_branches")
        if missing:
            print(f"         not taken: {missing}")
        if share < PERCENT_MIN and summary["num_branches"]:
            below.append(f"{name}: {share:.1f} %")
    print(f"{100.0 * taken / max(1, branches):6.1f} % of {branches} branches in all")
    if 100.0 * taken >= PERCENT_MIN * branches:
        return 0
    print(f"below {PERCENT_MIN} %: {', '.join(below)}", file=sys.stderr)
    return 1
