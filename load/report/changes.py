"""Whether a figure changed between two runs, and which verdicts contradict each other.

Invariant: pure; a change needs two intervals that do not meet, a contradiction needs the same
version. It must not read files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from load.report.model import Figure, Report, Value, Verdict


class Change(StrEnum):
    """What the newer of two runs shows."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    # One of the two has no interval: no difference can be told from noise.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Newest : earlier, and the widest interval that both intervals allow."""

    value: float
    low: float | None
    high: float | None


def ratio(newest: Figure, earlier: Figure | None) -> Ratio | None:
    """None where one of the two has no value, or the earlier one's is 0 or less."""
    if earlier is None or newest.value is None or earlier.value is None or earlier.value <= 0:
        return None
    value = newest.value / earlier.value
    new, old = _ends(newest), _ends(earlier)
    if new is None or old is None or old[0] <= 0:
        return Ratio(value, None, None)
    return Ratio(value, new[0] / old[1], new[1] / old[0])


def change(newest: Figure, earlier: Figure) -> Change:
    """Better or worse only where the intervals do not meet."""
    new, old = _ends(newest), _ends(earlier)
    if new is None or old is None:
        return Change.UNKNOWN
    if new[0] <= old[1] and old[0] <= new[1]:
        return Change.SAME
    is_higher = new[0] > old[1]
    return Change.BETTER if is_higher == newest.higher_is_better else Change.WORSE


def contradictions(reports: Sequence[Report]) -> list[tuple[Value, ...]]:
    """Version, figure and the counts of its verdicts, where one version is both met and missed."""
    counts: dict[tuple[str, str], Counter[Verdict]] = {}
    for report in reports:
        for figure in report.figures:
            key = (report.versions.get("hilum", ""), figure.name)
            counts.setdefault(key, Counter())[figure.verdict] += 1
    return [
        (*key, found[Verdict.MET], found[Verdict.MISSED], found[Verdict.UNDECIDED])
        for key, found in counts.items()
        if found[Verdict.MET] and found[Verdict.MISSED]
    ]


def _ends(figure: Figure) -> tuple[float, float] | None:
    if figure.low is None or figure.high is None:
        return None
    return figure.low, figure.high
