"""A bounded run of mutated cases against one target, with what went wrong saved.

Invariant: seed, corpus and number of cases decide which cases run; each fault is kept once, with
the bytes that show it. It must not stop at the first.
"""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.mutation import Mutator
from tests.fuzz.target import Target
from tests.fuzz.tracing import check_cost

# Steps and memory are counted for one case in so many: counting is slow.
COST_EVERY = 1000
PROGRESS_S = 5.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of failure: where it came from, and the first case that showed it."""

    place: str
    text: str
    case: bytes


@dataclass(slots=True)
class Outcome:
    """What a campaign did."""

    cases: int = 0
    seconds: float = 0.0
    costs_counted: int = 0
    steps_max: int = 0
    faults: dict[str, Fault] = field(default_factory=dict)

    @property
    def cases_per_s(self) -> float:
        return self.cases / self.seconds if self.seconds else 0.0


def costs_s(target: Target, corpus: Sequence[bytes], outcome: Outcome) -> list[float]:
    """Seconds that each case of the corpus takes; one that fails is a fault like any other."""
    found = []
    for case in corpus:
        started = time.perf_counter()
        attempt(target.check, case, outcome)
        found.append(time.perf_counter() - started)
    return found


def run(
    target: Target,
    cases: int,
    seed: int,
    *,
    progress: Callable[[Outcome], None] = lambda _: None,
    cost_every: int = COST_EVERY,
) -> Outcome:
    """The corpus as it is, then `cases` mutations of it."""
    outcome = Outcome()
    corpus = target.corpus()
    mutator = Mutator(seed, corpus, target.tokens, costs_s(target, corpus, outcome))
    started = told = time.monotonic()
    for number in range(1, cases + 1):
        case = mutator.case()
        if not attempt(target.check, case, outcome):
            continue
        if cost_every and number % cost_every == 0:
            attempt(lambda data: _count(target, data, outcome), case, outcome)
        if number % 256 == 0 and time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            outcome.cases, outcome.seconds = number, told - started
            progress(outcome)
    outcome.cases, outcome.seconds = cases, time.monotonic() - started
    return outcome


def first_fault(
    target: Target, cases: int, seed: int, check: Callable[[bytes], None] | None = None
) -> tuple[Fault | None, int]:
    """The first fault of the corpus and `cases` mutations of it, and how many cases it took."""
    outcome, check = Outcome(), check or target.check
    corpus = target.corpus()
    mutator = Mutator(seed, corpus, target.tokens)
    mutated = (mutator.case() for _ in range(cases))
    for number, case in enumerate((*corpus, *mutated), 1):
        if not attempt(check, case, outcome):
            return next(iter(outcome.faults.values())), number
    return None, len(corpus) + cases


def _count(target: Target, case: bytes, outcome: Outcome) -> None:
    outcome.costs_counted += 1
    outcome.steps_max = max(outcome.steps_max, check_cost(target, case))


def attempt(check: Callable[[bytes], None], case: bytes, outcome: Outcome) -> bool:
    """Whether the case did as it should; else its fault is in the outcome."""
    try:
        check(case)
    except Exception as error:  # noqa: BLE001 - whatever comes out is the finding
        fault = _fault(error, case)
        outcome.faults.setdefault(fault.place, fault)
        return False
    return True


def _fault(error: Exception, case: bytes) -> Fault:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-2] if frames[-1].name == "require" else frames[-1]
    place = f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
    return Fault(place, str(error)[:200], case)


def save(faults: Sequence[Fault], directory: Path) -> list[Path]:
    """Writes each fault's case; the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for fault in faults:
        path = directory / f"fault-{case_name(fault.case)}.bin"
        path.write_bytes(fault.case)
        paths.append(path)
    return paths


def case_name(case: bytes) -> str:
    """The name of a case's file, from its bytes."""
    return hashlib.sha256(case).hexdigest()[:16]
