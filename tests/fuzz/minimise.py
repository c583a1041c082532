"""Which few of many cases execute everything that all of them do.

Invariant: the kept cases take each step from line to line that some given case takes, and the
smaller of two cases is the one that stays. Must not keep a case that fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.fuzz.campaign import Outcome, attempt, case_name
from tests.fuzz.target import CORPUS, Target
from tests.fuzz.tracing import traced

# Of what is kept in the checkout; a larger case is a seed's business.
KEPT_BYTES_MAX = 4096


def minimise(target: Target, cases: Iterable[bytes]) -> list[bytes]:
    """The cases to keep, smallest first. Seeds are not among them: they are made anew each time."""
    seen: set[tuple[str, int, int]] = set()
    for seed in target.seeds():
        seen |= traced(target, seed).arcs
    found = []
    for case in sorted(set(cases), key=lambda case: (len(case), case)):
        if len(case) > KEPT_BYTES_MAX or not attempt(target.check, case, Outcome()):
            continue
        arcs = traced(target, case).arcs
        if arcs - seen:
            seen |= arcs
            found.append((case, arcs))
    return _without_superfluous(found)


def _without_superfluous(found: list[tuple[bytes, set[tuple[str, int, int]]]]) -> list[bytes]:
    """Of the largest first: what the others do as well is left out."""
    counts: dict[tuple[str, int, int], int] = {}
    for _, arcs in found:
        for arc in arcs:
            counts[arc] = counts.get(arc, 0) + 1
    kept = []
    for case, arcs in reversed(found):
        if all(counts[arc] > 1 for arc in arcs):
            for arc in arcs:
                counts[arc] -= 1
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
