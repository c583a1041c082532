"""How far a sender stood below its ceiling, and that it is said where it did not."""

from __future__ import annotations

import pytest

from load.report.model import Verdict
from load.senders import LeanOptions, Outcome, SendRun, headroom, mix_ceiling
from load.senders.headroom import _mixed
from tests.load.sender_templates import planned, small_template


def run_of(times: list[float], size_bytes: int = 1_000_000, seconds: float = 1.0) -> SendRun:
    outcomes = tuple(
        Outcome(f"2.25.{n}", "ct", size_bytes, None, at, at + 0.01, 0, "")
        for n, at in enumerate(times)
    )
    return SendRun(outcomes, seconds, 0.5, 1, 1)


CEILING = run_of([0.01 * number for number in range(100)])


def test_the_busiest_second_counts_and_not_the_mean() -> None:
    calm = [10.5 + number for number in range(10)]
    burst = [15.2 + 0.02 * number for number in range(24)]
    room = headroom(CEILING, [run_of(calm), run_of(burst)])
    assert room.busiest.instances_per_s == 25 and room.times == pytest.approx(4.0)
    assert not room.warning and not room.figure().note


def test_over_half_of_the_ceiling_is_a_warning() -> None:
    room = headroom(CEILING, [run_of([50 + 0.015 * number for number in range(200)])])
    assert room.times is not None and room.times < 2
    assert "own ceiling" in room.figure().note and "Warning" in room.table().note


def test_bytes_may_be_the_limit_too() -> None:
    room = headroom(CEILING, [run_of([1.0, 1.4, 1.9, 2.5], size_bytes=40_000_000)])
    assert room.times == pytest.approx(100 / 120)


def test_nothing_sent_is_not_measured() -> None:
    assert headroom(CEILING, []).figure().verdict is Verdict.NOT_MEASURED
    assert headroom(run_of([]), [CEILING]).figure().verdict is Verdict.NOT_MEASURED


def test_time_between_two_runs_is_no_sending() -> None:
    first, second = run_of([1.0, 1.5, 1.99]), run_of([101.0, 101.99])
    assert headroom(CEILING, [first, second]).cores_busy == pytest.approx(1.0 / 2, rel=0.01)


def test_the_mix_keeps_the_proportion_of_its_lanes() -> None:
    template, other = small_template(), small_template(4_000)
    mix = _mixed([planned(template, 30), planned(other, 10)])
    assert sum(one.template is other for one in mix[:400]) == 100


def test_a_ceiling_is_taken_in_its_time() -> None:
    lanes = [(planned(small_template(), 5), LeanOptions(associations=2, seconds_max=60.0))] * 3
    run = mix_ceiling(lanes, 2.0)
    # The mix is sent again and again, and ends with the ceiling's time, not with the lanes' own.
    assert run.acknowledged > sum(len(lane) for lane, _ in lanes)
    assert run.seconds < 60.0 and not run.failures()
