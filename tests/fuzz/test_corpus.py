"""The corpus and a few seconds of mutations of it: nothing but what is documented comes out."""

from __future__ import annotations

import itertools
import random
import time
from types import CodeType

import pytest

from tests.fuzz import campaign, scan_agreement, scan_seeds
from tests.fuzz.minimise import minimise
from tests.fuzz.mutation import Mutator
from tests.fuzz.target import CORPUS, Target, Violation
from tests.fuzz.targets import PDU, SCAN, TARGETS
from tests.fuzz.tracing import ROOT, check_cost, tracing

SEED = 20260301
MUTATIONS = {PDU.name: 6000, SCAN.name: 1500}
COSTS_COUNTED = 40
AGREEMENTS = 150
LINES_REACHED_MIN = 0.95
CORPUS_BYTES_MAX = 300 << 10
_FUNCTION = 0x1  # CO_OPTIMIZED: a function's code, not a module's or a class's


# pydicom warns of each UID that is none.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_and_mutations_are_read_or_refused_as_documented(name: str) -> None:
    target = TARGETS[name]
    outcome = campaign.run(target, MUTATIONS[name], SEED, cost_every=0)
    print(f"seed {SEED}: {outcome.cases} cases, {outcome.cases_per_s:.0f} a second")
    assert not [(fault.place, fault.text, fault.case.hex()) for fault in outcome.faults.values()]


@pytest.mark.parametrize("name", TARGETS)
def test_no_case_takes_more_steps_or_memory_than_allowed(name: str) -> None:
    target, chance = TARGETS[name], random.Random(SEED)
    corpus = target.corpus()
    mutator = Mutator(SEED, corpus, target.tokens)
    cases = [*corpus[-6:], *chance.sample(corpus, COSTS_COUNTED // 2)]
    cases += [mutator.case() for _ in range(COSTS_COUNTED // 2)]
    steps = [check_cost(target, case) for case in cases]
    print(f"seed {SEED}: {max(steps)} steps at most of {target.steps_max}")


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_reaches_nearly_every_line(name: str) -> None:
    target = TARGETS[name]
    lines = _lines(target)
    missed = set(lines)
    # The largest first: they reach most, and tracing is slow.
    for case in reversed(target.corpus()):
        with tracing(target) as trace:
            target.check(case)
        missed -= {(path, line) for path, _, line in trace.arcs}
        if len(missed) <= len(lines) * (1 - LINES_REACHED_MIN):
            return
    pytest.fail(f"{len(missed)} of {len(lines)} lines are not reached: {sorted(missed)}")


def _lines(target: Target) -> set[tuple[str, int]]:
    """Every line of the target's functions, without the `def` itself."""
    found: set[tuple[str, int]] = set()
    for source in target.sources:
        path = ROOT / source
        for file in [path] if path.is_file() else sorted(path.glob("*.py")):
            codes = [compile(file.read_text(), str(file), "exec", dont_inherit=True)]
            while codes:
                code = codes.pop()
                codes += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
                if code.co_flags & _FUNCTION:
                    here = {line for _, _, line in code.co_lines() if line}
                    found |= {(str(file), line) for line in here - {code.co_firstlineno}}
    return found


def test_scan_agrees_with_pydicom_on_valid_data_sets_and_their_mutations() -> None:
    valid = list(scan_seeds.valid())
    mutator = Mutator(SEED, valid, SCAN.tokens)
    cases = [*valid, *itertools.islice(iter(mutator.case, None), AGREEMENTS)]
    outcome = campaign.Outcome()
    for case in cases:
        campaign.attempt(scan_agreement.check, case, outcome)
    assert not [(fault.text, fault.case.hex()) for fault in outcome.faults.values()]
    compared = sum(scan_agreement.findings(case) is not None for case in valid)
    assert compared > len(valid) * 0.9


@pytest.mark.parametrize("name", TARGETS)
def test_the_kept_corpus_is_small(name: str) -> None:
    sizes = [path.stat().st_size for path in (CORPUS / name).glob("*.bin")]
    print(f"{name}: {len(sizes)} cases, {sum(sizes)} bytes")
    assert sizes and sum(sizes) <= CORPUS_BYTES_MAX


def test_same_seed_same_cases() -> None:
    corpus = PDU.corpus()
    one, other = (Mutator(7, corpus, PDU.tokens) for _ in range(2))
    assert [one.case() for _ in range(200)] == [other.case() for _ in range(200)]


def test_minimising_keeps_what_adds_a_step_and_nothing_twice() -> None:
    known = minimise(PDU, PDU.seeds())
    assert known == []  # the seeds are made anew each time
    short, long = b"\0" + bytes(100), b"\0" + bytes(101)
    kept = minimise(PDU, [long, short])
    assert kept == [short]
    assert minimise(PDU, kept) == kept


def test_a_fault_is_kept_once_with_its_bytes() -> None:
    outcome = campaign.Outcome()
    for case in (b"one", b"two"):
        assert not campaign.attempt(_raise, case, outcome)
    (fault,) = outcome.faults.values()
    assert fault.case == b"one" and fault.place.startswith("Violation in test_corpus.py")


def _raise(case: bytes) -> None:
    raise Violation("always")


def test_a_long_case_is_seen_as_too_costly() -> None:
    started = time.monotonic()
    slow = Target("slow", PDU.check, PDU.seeds, PDU.tokens, PDU.sources, 1 << 30, 1)
    with pytest.raises(Violation, match="at most 1 steps"):
        check_cost(slow, next(iter(PDU.seeds())))
    assert time.monotonic() - started < 60
