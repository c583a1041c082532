"""Which few of many cases execute everything that all of them do.

Invariant: the kept cases and the seeds take each step from line to line that some given case
takes, and as often by powers of two; the smaller of two cases is the one that stays. Must not
keep a case that fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.fuzz.campaign import Outcome, attempt, case_name
from tests.fuzz.target import CORPUS, Target
from tests.fuzz.tracing import Arc, traced

# Of what is kept in the checkout; a larger case is a seed's business.
KEPT_BYTES_MAX = 4096

Feature = tuple[Arc, int]


def minimise(target: Target, cases: Iterable[bytes]) -> list[bytes]:
    """The cases to keep, smallest first. Seeds are not among them: they are made anew each time."""
    known: set[Feature] = set()
    for seed in target.seeds():
        known |= traced(target, seed).features()
    found: list[tuple[bytes, set[Feature]]] = []
    seen = set(known)
    for case in sorted(set(cases), key=lambda case: (len(case), case)):
        if len(case) > KEPT_BYTES_MAX or not attempt(target.check, case, Outcome()):
            continue
        features = traced(target, case).features() - known
        if features - seen:
            seen |= features
            found.append((case, features))
    return _without_superfluous(found)


def _without_superfluous(found: list[tuple[bytes, set[Feature]]]) -> list[bytes]:
    """The largest go first where the others do all that they do."""
    counts = Counter(feature for _, features in found for feature in features)
    kept = []
    for case, features in reversed(found):
        if all(counts[feature] > 1 for feature in features):
            counts.subtract(features)
        else:
            kept.append(case)
    return kept[::-1]


def keep(target: Target, cases: Iterable[bytes]) -> list[Path]:
    """Makes these the target's corpus; the files."""
    directory = CORPUS / target.name
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.glob("*.bin"):
        path.unlink()
    paths = []
    for case in cases:
        path = directory / f"{case_name(case)}.bin"
        path.write_bytes(case)
        paths.append(path)
    return paths
