"""Starts what the project's tests do not install: atheris for guided runs, coverage for branches.

Invariant: a package that is missing is an error that names the command to install it. Must not
install anything.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.campaign import Outcome, case_name, costs_s
from tests.fuzz.target import CASE_BYTES_MAX, CORPUS, Target
from tests.fuzz.tracing import ROOT

INSTALL = (
    "python -m pip install --no-deps --require-hashes --target .hilum/fuzz "
    "-r requirements-fuzz.txt, then set PYTHONPATH=.hilum/fuzz"
)
# libFuzzer gives a case up, as a fault, after this; the slowest of the corpus takes 0.4 s.
_CASE_TIMEOUT_S = 30
_MEMORY_MB_MAX = 1024
# A deflate bomb takes 0.1 s, and libFuzzer would try it a hundred times more than it is worth.
_COST_S_MAX = 0.01
_DONE = re.compile(r"Done (\d+) runs in (\d+) second")


class MissingPackage(Exception):
    """What is not installed, and how to install it."""


@dataclass(frozen=True, slots=True)
class FileBranches:
    """Branch coverage of one file. `missing` are (line, line it never went to)."""

    path: str
    covered: int
    total: int
    missing: tuple[tuple[int, int], ...]


def need(package: str) -> None:
    """Raises MissingPackage."""
    if importlib.util.find_spec(package) is None:
        raise MissingPackage(f"{package} is not installed; install it with: {INSTALL}")


def lay_corpus(target: Target, directory: Path) -> None:
    """Corpus and seeds as files, which is what libFuzzer starts from; not the slow ones."""
    directory.mkdir(parents=True, exist_ok=True)
    corpus = target.corpus()
    for case, cost_s in zip(corpus, costs_s(target, corpus, Outcome()), strict=True):
        if cost_s > _COST_S_MAX or len(case) > CASE_BYTES_MAX:
            continue
        (directory / f"{case_name(case)}.bin").write_bytes(case)


def run_guided(
    target: Target, cases: int, seed: int, found: Path, tell: Callable[[str], None]
) -> tuple[int, int, int]:
    """A libFuzzer run that leaves new cases in `found` and faults beside it.

    The cases run, their seconds, and libFuzzer's exit code (0: no fault).
    """
    need("atheris")
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hilum-fuzz-") as start:
        lay_corpus(target, Path(start))
        options = [
            f"-runs={cases}",
            f"-seed={seed}",
            f"-max_len={CASE_BYTES_MAX}",
            f"-timeout={_CASE_TIMEOUT_S}",
            f"-rss_limit_mb={_MEMORY_MB_MAX}",
            f"-artifact_prefix={found.parent}/fault-",
            # Seconds by the clock; on a busy machine any case may be slow.
            f"-report_slow_units={_CASE_TIMEOUT_S}",
            str(found),
            start,
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.guided", target.name, *options],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
        )
        runs = seconds = 0
        assert process.stderr is not None
        for line in process.stderr:
            done = _DONE.search(line)
            if done:
                runs, seconds = int(done[1]), int(done[2])
            tell(line.rstrip())
        return runs, seconds, process.wait()


def branches(target: Target, more: Sequence[Path] = ()) -> list[FileBranches]:
    """Branch coverage of the target's files by its corpus, its seeds and the cases in `more`."""
    need("coverage")
    with tempfile.TemporaryDirectory(prefix="hilum-fuzz-") as directory:
        data, report = Path(directory) / "data", Path(directory) / "report.json"
        coverage = [sys.executable, "-m", "coverage"]
        subprocess.run(
            [
                *(*coverage, "run", "--branch", f"--data-file={data}"),
                "--include=" + ",".join(_patterns(target)),
                *("-m", "tests.fuzz.replay", target.name, *map(str, more)),
            ],
            cwd=ROOT,
            check=True,
            env=_environment(),
        )
        subprocess.run(
            [*coverage, "json", "-q", f"--data-file={data}", "-o", str(report)],
            cwd=ROOT,
            check=True,
        )
        files = json.loads(report.read_text())["files"]
    return [
        FileBranches(
            path,
            file["summary"]["covered_branches"],
            file["summary"]["num_branches"],
            tuple((line, to) for line, to in file["missing_branches"]),
        )
        for path, file in sorted(files.items())
    ]


def _patterns(target: Target) -> list[str]:
    return [source if source.endswith(".py") else f"{source}/*" for source in target.sources]


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return dict(os.environ, PYTHONPATH=path)


def kept_bytes(target: Target) -> int:
    """How large the kept corpus is."""
    return sum(path.stat().st_size for path in (CORPUS / target.name).glob("*.bin"))
