"""How a cost grows: the exponent k of cost ~ n^k, with its 90 % interval.

Invariant: a straight line through logarithms and nothing else; what does not vary, or has fewer
than three points, has no exponent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

CONFIDENCE = 0.90
POINTS_MIN = 3
# Ten times the rows may cost 1.1 times as much an instance (05-performance).
EXPONENT_MAX = math.log10(1.1)


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """cost = factor × n^exponent; `low` and `high` are the exponent's interval."""

    exponent: float
    low: float
    high: float
    factor: float

    def at(self, n: float) -> float:
        """The fitted cost."""
        return self.factor * math.exp(self.exponent * math.log(n))


def fit(ns: Sequence[float], costs: Sequence[float]) -> PowerLaw | None:
    """The power law through positive points by least squares of logarithms; None for too few.

    The interval is Student's of the slope.
    """
    points = [(math.log(n), math.log(c)) for n, c in zip(ns, costs, strict=True) if n > 0 < c]
    if len(points) < POINTS_MIN or len({x for x, _ in points}) < 2:
        return None
    line = stats.linregress(*zip(*points, strict=True))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(points) - 2) * line.stderr)
    slope = float(line.slope)
    return PowerLaw(slope, slope - half, slope + half, math.exp(float(line.intercept)))
