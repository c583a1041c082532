"""The verdicts on samples whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from load.compare import statistics
from load.report.model import Figure, Verdict

GOAL = 1.5
RUNS = 250
PAIRS = 5


def ratio(ours: list[float], theirs: list[float], goal: float | None = GOAL) -> Figure:
    return statistics.ratio_figure(
        "x", "X", "instances/s", ours=ours, theirs=theirs, goal=goal, peer="storescp", seed=3
    )


def simulated(rng: np.random.Generator, truth: float) -> tuple[list[float], list[float]]:
    """Pairs on a machine that drifts by half from pair to pair and by 15 % within one."""
    drift = np.exp(rng.normal(0, 0.4, PAIRS))
    theirs = 1000 * drift * np.exp(rng.normal(0, 0.1, PAIRS))
    ours = truth * 1000 * drift * np.exp(rng.normal(0, 0.1, PAIRS))
    return ours.tolist(), theirs.tolist()


def verdicts(truth: float) -> dict[Verdict, float]:
    rng = np.random.default_rng(11)
    found = [ratio(*simulated(rng, truth)).verdict for _ in range(RUNS)]
    return {verdict: found.count(verdict) / RUNS for verdict in Verdict}


def test_a_truth_at_the_goal_is_rarely_decided_wrongly() -> None:
    shares = verdicts(GOAL)
    assert shares[Verdict.MET] < 0.09
    assert shares[Verdict.MISSED] < 0.09


def test_a_truth_far_from_the_goal_is_found() -> None:
    assert verdicts(GOAL * 1.35)[Verdict.MET] > 0.9
    assert verdicts(GOAL * 1.35)[Verdict.MISSED] == 0
    assert verdicts(GOAL / 1.35)[Verdict.MISSED] > 0.9
    assert verdicts(GOAL / 1.35)[Verdict.MET] == 0


def test_the_value_is_the_geometric_mean_of_paired_ratios() -> None:
    figure = ratio([20.0, 50.0, 8.0], [10.0, 100.0, 4.0])
    assert figure.value is not None and figure.low is not None and figure.high is not None
    assert figure.value == pytest.approx(math.cbrt(2 * 0.5 * 2))
    assert figure.low <= figure.value <= figure.high


def test_equal_samples_and_seed_give_the_equal_figure() -> None:
    samples = [1.0, 2.0, 1.5, 1.2, 1.7], [1.1, 1.0, 1.3, 0.9, 1.0]
    assert ratio(*samples) == ratio(*samples)


def test_less_is_better_turns_the_verdict() -> None:
    low = statistics.value_figure("x", "X", "ms", samples=[1, 2, 3, 2, 1], goal_max=50)
    high = statistics.value_figure("x", "X", "ms", samples=[80, 82, 79, 81, 90], goal_max=50)
    assert (low.verdict, high.verdict) == (Verdict.MET, Verdict.MISSED)
    assert low.goal == "≤ 50 ms" and not low.higher_is_better


def test_no_goal_is_shown_and_no_samples_are_not_measured() -> None:
    assert ratio([2, 2, 2], [1, 1, 1], None).verdict is Verdict.SHOWN
    assert ratio([], []).verdict is Verdict.NOT_MEASURED
    assert ratio([0, 1, 1], [1, 1, 1]).verdict is Verdict.NOT_MEASURED
    assert ratio([1, 1], [1]).verdict is Verdict.NOT_MEASURED


def test_a_machine_on_its_way_to_another_speed_decides_nothing() -> None:
    falling, steady = [1830.0, 1630.0, 1450.0, 1330.0, 1200.0], [900.0, 910.0, 905.0, 890.0, 900.0]
    ours = [2 * theirs for theirs in steady]
    assert ratio(ours, steady).verdict is Verdict.MET
    figure = ratio(falling, steady, 1.0)
    assert figure.verdict is Verdict.UNDECIDED and "another speed" in figure.note
    assert ratio(falling, steady, None).verdict is Verdict.SHOWN
    # By little, or not in one direction: these are repetitions.
    assert not statistics.drifts([100.0, 101.0, 102.0, 103.0, 104.0])
    assert not statistics.drifts([1830.0, 1200.0, 1630.0, 1330.0, 1450.0])


def test_two_pairs_decide_nothing() -> None:
    figure = ratio([100.0, 100.0], [1.0, 1.0])
    assert figure.verdict is Verdict.UNDECIDED and figure.value == pytest.approx(100)


def test_a_count_is_decided_by_itself() -> None:
    packs = statistics.counted_figure("packs", "Packs", "packs", count=64, goal_max=64)
    assert packs.verdict is Verdict.MET
    more = statistics.counted_figure("packs", "Packs", "packs", count=65, goal_max=64)
    assert more.verdict is Verdict.MISSED


def test_many_samples_stay_within_bounds() -> None:
    samples = np.random.default_rng(5).normal(20, 5, 20_000).tolist()
    figure = statistics.value_figure(
        "packs", "Packs", "MiB", samples=samples, goal_min=16, average="median"
    )
    assert figure.verdict is Verdict.MET
