"""The runner's numbers: refusals, idleness, delays, scratch files."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumers.idle_watch import Idle, IdlePartitions
from consumers.rejections import REFUSED_IN_WINDOW_MAX, WINDOW_RECORDS, RejectionBudget
from consumers.runner import RETRY_S_MAX, RETRY_S_MIN, effective_limits, retry_delay_s
from consumers.scratch import Scratch
from consumers.spec import BatchLimits
from contracts.failures import FatalError, RetryableError
from infra.partitions import Partition, Span
from infra.settings import ConsumerSettings


def test_a_hundred_refusals_in_a_row_are_too_many() -> None:
    budget = RejectionBudget()
    budget.note([True] * 99)
    budget.note([False])
    budget.note([True] * 99)
    with pytest.raises(FatalError, match="100 in a row"):
        budget.note([True])


def test_five_hundred_refusals_are_borne_in_ten_thousand_records() -> None:
    budget = RejectionBudget()
    spread = ([True] + [False] * 19) * REFUSED_IN_WINDOW_MAX
    budget.note(spread)
    assert len(spread) == WINDOW_RECORDS
    budget.note(spread)  # the window moves on: as many leave it as come
    with pytest.raises(FatalError, match="bad deploy"):
        budget.note([False, True, True])


def test_only_polling_makes_a_partition_idle() -> None:
    one, other = Partition("t", 0), Partition("t", 1)
    still = IdlePartitions()
    assert still.look({one: Span(5, 9), other: Span(3, 3)}, 10.0) == Idle(None, 0.0)
    assert still.look({one: Span(5, 9), other: Span(3, 3)}, 10.0) == Idle(None, 0.0)  # a long write
    assert still.look({one: Span(5, 9), other: Span(3, 3)}, 45.0) == Idle(one, 35.0)
    assert still.look({one: Span(6, 9), other: Span(3, 3)}, 50.0) == Idle(None, 0.0)
    assert still.look({other: Span(3, 3)}, 90.0) == Idle(None, 0.0)
    # records came to it since the last look
    assert still.look({other: Span(3, 9)}, 95.0) == Idle(other, 5.0)


def test_delays_double_up_to_their_limit() -> None:
    for attempt in range(1, 40):
        delay = retry_delay_s(attempt)
        ceiling = min(RETRY_S_MAX, RETRY_S_MIN * 2 ** (attempt - 1))
        assert ceiling / 2 <= delay <= ceiling


def test_settings_win_over_a_consumers_own_limits() -> None:
    own = BatchLimits(records_max=10, bytes_max=1_000, age_ms_max=500)
    changed = effective_limits(own, ConsumerSettings(batch_records_max=7, batch_age_ms_max=0))
    assert (changed.records_max, changed.bytes_max, changed.age_ms_max) == (7, 1_000, 0)
    assert effective_limits(own, ConsumerSettings()) == own


def test_a_deadline_of_half_the_poll_interval_is_refused() -> None:
    with pytest.raises(AssertionError):
        BatchLimits(1, 1, 1, poll_interval_ms_max=60_000, write_deadline_s=30.0)


def test_scratch_is_empty_at_the_start_and_after_each_file(tmp_path: Path) -> None:
    (tmp_path / "left.tar").write_bytes(b"by a killed process")
    scratch = Scratch(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(RetryableError, match="No such file"), scratch.file("a") as path:
        scratch.fill(path, [b"12", b"34"])
        assert path.read_bytes() == b"1234"
        raise FileNotFoundError(2, "No such file or directory")
    assert not list(tmp_path.iterdir())
