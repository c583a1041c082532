"""Turns samples into figures: a value, its 90 % interval and what that says about a goal.

Invariant: the same samples and the same seed give the same figure, and a verdict other than
*undecided* needs the whole interval on one side of the goal. It must not measure anything.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from load.report.model import Figure, Verdict

CONFIDENCE = 0.90
RESAMPLES = 4999
# Resamples × samples held at once: 8 MB of indices, however many samples a figure has.
CELLS_AT_ONCE = 1_000_000
# Two samples have three resampled means: no interval that could decide anything.
SAMPLES_MIN = 3
# Five samples stand in one order by chance once in sixty times, and seldom this far apart.
DRIFT_SAMPLES_MIN, DRIFT_MIN = 5, 1.2

Floats = NDArray[np.float64]
Average = Literal["mean", "median"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the two ends of its interval."""

    value: float
    low: float
    high: float


def resampling_confidence(samples: int) -> float:
    """The percentile interval's confidence that holds 90 % of true means at this many samples.

    The bootstrap's percentile interval is too narrow at few samples: a resample's spread lacks
    the factor n / (n - 1), and the normal's tails stand where Student's belong. Widening the
    percentiles by both (T. Hesterberg, *What Teachers Should Know About the Bootstrap*, 2015,
    "expanded percentile") restores it. 2,000 simulated runs of n = 5, true value at the goal;
    each wrong verdict (met, missed) should come in 5 of 100, and came in

        noise of the log ratio      percentile   BCa       expanded   studentized
        normal                      10.9, 11.6   10.9, 11.1   5.5, 5.7    4.5, 4.4
        Student's t, 3 degrees      11.1, 11.0   12.1, 12.3   5.8, 6.2    5.4, 6.2
        one in ten 5 times wider    10.7, 11.3   12.0, 11.9   6.0, 6.7    4.8, 5.7

    The studentized interval holds as well but is 1.4 times as wide at the median and 2 to 3.5
    times at the 95th percentile (five resampled values are often nearly equal, and it divides
    by their spread): it would leave *undecided* what the expanded one tells.
    """
    student = stats.t.ppf((1 + CONFIDENCE) / 2, samples - 1)
    return float(1 - 2 * stats.norm.cdf(-math.sqrt(samples / (samples - 1)) * student))


def interval(samples: Sequence[float], *, seed: int, average: Average = "mean") -> Interval:
    """The average of `samples` and its 90 % bootstrap interval (at least two samples)."""
    values = np.asarray(samples, dtype=np.float64)
    statistic = np.mean if average == "mean" else np.median
    value = float(statistic(values))
    if float(np.ptp(values)) == 0.0:
        return Interval(value, value, value)
    with warnings.catch_warnings():
        # Equal resamples are expected of five values; SciPy warns of a degenerate distribution.
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            (values,),
            statistic,
            n_resamples=RESAMPLES,
            batch=max(1, CELLS_AT_ONCE // len(values)),
            confidence_level=resampling_confidence(len(values)),
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return Interval(value, float(found.low), float(found.high))


def ratio_interval(ours: Sequence[float], theirs: Sequence[float], *, seed: int) -> Interval:
    """The geometric mean of ours : theirs over pairs, with its interval.

    Pairs, since the machine's drift between pairs is larger than within one; logarithms, since
    a ratio of 2 and one of 1/2 must average to 1.
    """
    logs = [math.log(mine / other) for mine, other in zip(ours, theirs, strict=True)]
    found = interval(logs, seed=seed)
    return Interval(math.exp(found.value), math.exp(found.low), math.exp(found.high))


def verdict(low: float, high: float, goal: float, *, higher_is_better: bool) -> Verdict:
    """*met* where the whole interval is on the good side of the goal, *missed* on the other."""
    if not higher_is_better:
        low, high, goal = -high, -low, -goal
    if low > goal:
        return Verdict.MET
    return Verdict.MISSED if high < goal else Verdict.UNDECIDED


def ratio_figure(
    name: str,
    title: str,
    unit: str,
    *,
    ours: Sequence[float],
    theirs: Sequence[float],
    goal: float | None,
    peer: str,
    seed: int = 0,
    higher_is_better: bool = True,
    note: str = "",
) -> Figure:
    """Ours : peer over alternating pairs, with the verdict about `goal` (None: shown).

    `ours` and `theirs` are in `unit`, pair by pair. A sample of zero or below has no ratio: the
    figure is not measured and says so. Fewer than three pairs never decide.
    """
    text = "" if goal is None else f"{'≥' if higher_is_better else '≤'} {goal:g}×"
    blank = Figure(
        name=name,
        title=title,
        unit=unit,
        verdict=Verdict.NOT_MEASURED,
        goal=text,
        peer=peer,
        ours=tuple(ours),
        theirs=tuple(theirs),
        note=note,
        higher_is_better=higher_is_better,
    )
    if len(ours) != len(theirs) or not ours or min(*ours, *theirs) <= 0:
        return _noted(blank, "no complete pairs of positive samples")
    if len(ours) < SAMPLES_MIN:
        value = math.exp(sum(map(math.log, ours)) / len(ours))
        value /= math.exp(sum(map(math.log, theirs)) / len(theirs))
        return _few(blank, value)
    figure = _decided(blank, ratio_interval(ours, theirs, seed=seed), goal)
    if figure.verdict in (Verdict.MET, Verdict.MISSED) and (drifts(ours) or drifts(theirs)):
        note = _joined(note, "the machine was on its way to another speed")
        return replace(figure, verdict=Verdict.UNDECIDED, note=note)
    return figure


def drifts(samples: Sequence[float]) -> bool:
    """Whether samples only rise or only fall, and far: then pairs are no repetitions.

    A resampled interval takes them for such and is too sure of itself. Two runs of one version
    told 0.80 (0.72 to 0.88) and 1.05 (1.03 to 1.07) of one goal; in the first the peer had fallen
    from 1,830 to 1,200 a second, pair by pair.
    """
    if len(samples) < DRIFT_SAMPLES_MIN:
        return False
    rising = sorted(samples)
    in_order = list(samples) in (rising, rising[::-1])
    return in_order and rising[-1] > DRIFT_MIN * rising[0]


def value_figure(
    name: str,
    title: str,
    unit: str,
    *,
    samples: Sequence[float],
    goal_max: float | None = None,
    goal_min: float | None = None,
    average: Average = "mean",
    seed: int = 0,
    note: str = "",
) -> Figure:
    """The average of repeated measurements of ours, with the verdict about an absolute goal."""
    goal = goal_max if goal_max is not None else goal_min
    higher_is_better = goal_max is None
    blank = Figure(
        name=name,
        title=title,
        unit=unit,
        verdict=Verdict.NOT_MEASURED,
        goal="" if goal is None else f"{'≥' if higher_is_better else '≤'} {goal:g} {unit}".strip(),
        ours=tuple(samples),
        note=note,
        higher_is_better=higher_is_better,
    )
    if not samples:
        return _noted(blank, "no samples")
    if len(samples) < SAMPLES_MIN:
        return _few(blank, float(np.mean(samples)))
    return _decided(blank, interval(samples, seed=seed, average=average), goal)


def counted_figure(
    name: str,
    title: str,
    unit: str,
    *,
    count: float,
    goal_max: float | None = None,
    goal_min: float | None = None,
    note: str = "",
) -> Figure:
    """A figure that is counted, not sampled (objects of one study): its value decides."""
    good = (goal_max is None or count <= goal_max) and (goal_min is None or count >= goal_min)
    has_goal = goal_max is not None or goal_min is not None
    goal = f"≤ {goal_max:g} {unit}" if goal_max is not None else f"≥ {goal_min:g} {unit}"
    decided = Verdict.MET if good else Verdict.MISSED
    return Figure(
        name=name,
        title=title,
        unit=unit,
        verdict=decided if has_goal else Verdict.SHOWN,
        value=count,
        goal=goal if has_goal else "",
        ours=(count,),
        note=note,
        higher_is_better=goal_max is None,
    )


def _decided(blank: Figure, found: Interval, goal: float | None) -> Figure:
    decided = (
        Verdict.SHOWN
        if goal is None
        else verdict(found.low, found.high, goal, higher_is_better=blank.higher_is_better)
    )
    return replace(blank, verdict=decided, value=found.value, low=found.low, high=found.high)


def _few(blank: Figure, value: float) -> Figure:
    decided = Verdict.UNDECIDED if blank.goal else Verdict.SHOWN
    note = f"{len(blank.ours)} samples: no interval"
    return replace(blank, verdict=decided, value=value, note=_joined(blank.note, note))


def _noted(blank: Figure, note: str) -> Figure:
    return replace(blank, verdict=Verdict.NOT_MEASURED, note=_joined(blank.note, note))


def _joined(note: str, more: str) -> str:
    return f"{note}; {more}" if note else more
