"""What may leave when: the bucket, the schedule, and settings that cannot be obeyed."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from edge_gateway.bandwidth import LOOK_INTERVAL_S, Bandwidth, told
from infra.settings_forwarding import ForwardingSettings

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
KB = 1_000


class HandClock:
    """A clock that a test sets."""

    def __init__(self, now: datetime = MONDAY) -> None:
        self._now = now
        self._monotonic = 0.0

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.advance(seconds)
        return stop.is_set()


def forwarding(**keys: Any) -> ForwardingSettings:
    return ForwardingSettings.model_validate(keys)


def sent_in(bandwidth: Bandwidth, clock: HandClock, seconds: float, chunk_bytes: int) -> int:
    """What a sender with chunks of this size gets out that asks every 8 ms."""
    sent = 0
    for _ in range(round(seconds / 0.008)):
        while bandwidth.is_open():
            bandwidth.take(chunk_bytes)
            sent += chunk_bytes
        clock.advance(0.008)
    return sent


@pytest.mark.parametrize("chunk_bytes", [1 * KB, 100 * KB, 900 * KB])
def test_no_more_than_burst_and_limit_leave_and_nothing_is_wasted(chunk_bytes: int) -> None:
    clock = HandClock()
    bandwidth = Bandwidth(
        forwarding(bandwidth_bytes_per_s_max=500 * KB, bandwidth_burst_bytes_max=200 * KB), clock
    )
    sent = sent_in(bandwidth, clock, 20, chunk_bytes)
    allowed = 200 * KB + 20 * 500 * KB
    assert allowed - 10 * KB - chunk_bytes < sent <= allowed + chunk_bytes


def test_without_a_limit_everything_leaves() -> None:
    bandwidth = Bandwidth(forwarding(), HandClock())
    bandwidth.take(1 << 40)
    assert bandwidth.is_open() and bandwidth.limit_bytes_per_s is None and not told(None)


def test_the_schedule_goes_by_the_hours_of_its_time_zone_and_over_midnight() -> None:
    clock = HandClock(datetime(2026, 7, 6, 4, 0, tzinfo=UTC))  # Monday 06:00 in Berlin
    night = {"days": ["mon"], "begins": "22:00", "ends": "05:00", "bandwidth_bytes_per_s_max": 9}
    day = {"begins": "07:00", "ends": "18:00", "bandwidth_bytes_per_s_max": 0}
    bandwidth = Bandwidth(
        forwarding(
            bandwidth_bytes_per_s_max=5 * KB, schedule=[day, night], time_zone="Europe/Berlin"
        ),
        clock,
    )
    limits = []
    for _ in range(24):
        bandwidth.is_open()
        limits.append(bandwidth.limit_bytes_per_s)
        clock.advance(3600)
    usual = 5 * KB
    assert limits == [usual] + [0] * 11 + [usual] * 4 + [9] * 7 + [usual]


def test_a_window_without_payload_lets_nothing_out_until_it_ends() -> None:
    clock = HandClock(MONDAY + timedelta(hours=17, minutes=59))
    pause = {"begins": "07:00", "ends": "18:00", "bandwidth_bytes_per_s_max": 0}
    bandwidth = Bandwidth(forwarding(schedule=[pause], time_zone="UTC"), clock)
    assert not bandwidth.is_open() and "schedule" in told(bandwidth.limit_bytes_per_s)
    clock.advance(59)
    assert not bandwidth.is_open()
    clock.advance(LOOK_INTERVAL_S)
    assert bandwidth.is_open()


WINDOW = {"begins": "07:00", "ends": "18:00", "bandwidth_bytes_per_s_max": 1}


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"schedule": [WINDOW]}, "schedule needs time_zone"),
        ({"time_zone": "Europe/Atlantis"}, "'Europe/Atlantis' is not known here"),
        ({"time_zone": "../etc/passwd"}, "is not known here"),
        ({"schedule": [WINDOW, {**WINDOW, "begins": "17:59", "ends": "19:00"}],
          "time_zone": "UTC"}, r"schedule\[0\] and schedule\[1\] overlap at mon 17:59"),
        ({"schedule": [{**WINDOW, "ends": "07:00"}], "time_zone": "UTC"}, "needs a length"),
        ({"schedule": [{**WINDOW, "ends": "24:00"}], "time_zone": "UTC"}, "24:00 is no time"),
        ({"priorities": [{"modality": "XX", "priority": 1}]}, "modality 'XX'; known: CR, CT"),
        ({"priorities": [{"priority": 0}]}, "greater than or equal to 1"),
        ({"payload_compression": "rar"}, "'none', 'gzip', 'lz4' or 'zstd'"),
        ({"bandwidth_bytes_per_s_max": 0}, "greater than or equal to 1024"),
    ],
)  # fmt: skip
def test_what_cannot_be_obeyed_is_said_at_the_start(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        forwarding(**keys)
