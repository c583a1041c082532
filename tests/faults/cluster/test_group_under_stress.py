"""A group on three brokers: members that come and go, a dead-letter topic that is away."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from consumers.spec import BatchLimits, Record, Rejection
from contracts.failures import RetryableError
from infra.cluster_view import admin_client
from infra.settings import Settings
from tests.consumers.bus import Bus, bus_of, eventually, header
from tests.consumers.recording import (
    INPUT,
    RecordingWriter,
    RunningConsumer,
    publish_numbers,
    request,
    running,
)
from tests.faults.cluster.three_brokers import BROKERS, Cluster, with_quick_answers

GROUP = "recording"
SEED = 20261128
MEMBERS = 4
WITHIN_S = 150.0
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def bus(cluster_settings: Settings) -> Iterator[Bus]:
    with bus_of(cluster_settings.kafka) as ready:
        yield ready


class Storm:
    """Members under four names that start and stop, by a seed."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self.writers: list[RecordingWriter] = []
        self._settings = settings
        self._directory = directory
        self._running: dict[int, RunningConsumer] = {}

    def turn(self, number: int) -> None:
        """Stops the member of this number if it runs, starts it otherwise."""
        if number in self._running:
            self._running.pop(number).stop()
        else:
            self.start(number)

    def start(self, number: int) -> None:
        """Starts the member of this number, if it does not run."""
        if number not in self._running:
            self.writers.append(RecordingWriter())
            directory = self._directory / str(number)
            self._running[number] = RunningConsumer(
                self._settings, directory, self.writers[-1], member=f"recording-{number}"
            )

    def end(self) -> None:
        """Stops all; fails if one failed."""
        for member in self._running.values():
            member.stop()
        assert [m.failure for m in self._running.values()] == [None] * len(self._running)

    def written(self) -> set[int]:
        return {number for writer in self.writers for number in writer.written}


def rage(storm: Storm, bus: Bus, rounds: int, every_s: float) -> tuple[int, float]:
    """Publishes while members come and go; how much, and the longest that nothing was written."""
    source = random.Random(SEED)
    print(f"seed {SEED}, {rounds} rounds")
    count, longest_s = 0, 0.0
    for number in range(MEMBERS):
        storm.start(number)
    for _ in range(rounds):
        storm.turn(source.randrange(MEMBERS))
        until = time.monotonic() + every_s
        last, seen = time.monotonic(), len(storm.written())
        while time.monotonic() < until:
            count += publish_some(bus, count)
            if (now_seen := len(storm.written())) > seen:
                last, seen = time.monotonic(), now_seen
            longest_s = max(longest_s, time.monotonic() - last)
    return count, longest_s


def publish_some(bus: Bus, first: int) -> int:
    """How many numbers from `first` on are acknowledged; again until they are."""
    until = time.monotonic() + WITHIN_S
    while True:
        try:
            publish_numbers(bus, range(first, first + 24))
            return 24
        except RetryableError:
            if time.monotonic() > until:
                raise


def check_storm(storm: Storm, bus: Bus, rounds: int, every_s: float) -> str:
    """Fails unless everything was written; says how it went."""
    try:
        count, longest_s = rage(storm, bus, rounds, every_s)
        storm.start(0)
        began = time.monotonic()
        eventually(lambda: bus.lag(GROUP, [INPUT]) == 0, "all committed", WITHIN_S)
        figure = (
            f"{count} records, {len(storm.writers)} starts, nothing written for {longest_s:.1f} s"
            f" at most, all committed {time.monotonic() - began:.1f} s after the last turn"
        )
        print(figure)
    finally:
        storm.end()
    assert storm.written() == set(range(count))
    return figure


def test_members_that_come_and_go_leave_no_record_behind(
    bus: Bus, cluster_settings: Settings, tmp_path: Path
) -> None:
    check_storm(Storm(cluster_settings, tmp_path), bus, rounds=4, every_s=1.5)


@pytest.mark.soak
def test_members_that_come_and_go_for_five_minutes_leave_no_record_behind(
    bus: Bus,
    cluster_settings: Settings,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    figure = check_storm(Storm(cluster_settings, tmp_path), bus, rounds=100, every_s=3.0)
    record_property("seed", SEED)
    record_property("figure", figure)


def test_nothing_is_committed_past_a_dead_letter_that_its_topic_does_not_take(
    cluster: Cluster,
    cluster_settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consumers.dead_letter.ACKNOWLEDGE_TIMEOUT_S", 3.0)
    settings = with_quick_answers(cluster_settings)
    with bus_of(settings.kafka) as bus:
        # Three copies have to acknowledge a dead letter, two are left.
        require_in_sync(settings, 3)
        poison = [
            bus.event_record(request(n), b"k%d" % n, b"poison %d" % n, str(n)) for n in range(3)
        ]
        bus.publish(poison)
        publish_numbers(bus, range(60))
        cluster.stand_still(next(b for b in BROKERS if b != leader_of_dead_letters(cluster, bus)))
        writer = RecordingWriter()
        with running(settings, tmp_path, writer) as consumer:
            state = consumer.runner
            eventually(lambda: "publishing" in state.readiness.reason, "an attempt", WITHIN_S)
            assert bus.lag(GROUP, [INPUT]) >= len(poison), "committed past a dead letter"
            cluster.heal()
            eventually(lambda: bus.lag(GROUP, [INPUT]) == 0, "all committed", WITHIN_S)
        # One that was sent again and again may be there as often, under one name.
        letters = {
            (header(each, "hilum-partition"), header(each, "hilum-offset")): (each.key, each.value)
            for each in bus.dead_letters(INPUT)
        }
    assert sorted(letters.values()) == sorted((r.key, r.value) for r in poison)
    assert set(writer.written) == set(range(60))


def leader_of_dead_letters(cluster: Cluster, bus: Bus) -> int:
    return cluster.leader(bus.kafka, INPUT.dlq_name, 0)


def require_in_sync(settings: Settings, replicas: int) -> None:
    """Sets `min.insync.replicas` of the input's dead-letter topic."""
    admin: Any = admin_client(settings.kafka)
    try:
        name = settings.kafka.topic_prefix + INPUT.dlq_name
        wanted = {"min.insync.replicas": str(replicas)}
        answer = admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, wanted)])
        assert answer["topic"][name] == "OK"
    finally:
        admin.close()


def test_a_sink_that_is_down_for_longer_than_the_poll_interval_costs_no_membership(
    bus: Bus, cluster_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The back-off alone is longer than the interval: the member polls meanwhile, paused."""
    monkeypatch.setattr("consumers.runner.RETRY_S_MIN", 13.0)
    limits = BatchLimits(
        records_max=50,
        bytes_max=1_000_000,
        age_ms_max=200,
        poll_interval_ms_max=6_000,
        write_deadline_s=2.9,
    )
    failures = iter([True])

    def fail_once(batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        if next(failures, False):
            raise RetryableError("inserting: the sink is down")
        return ()

    publish_numbers(bus, range(200))
    writer = RecordingWriter(fail_once)
    with running(cluster_settings, tmp_path, writer, limits=limits) as consumer:
        eventually(lambda: bus.lag(GROUP, [INPUT]) == 0, "all committed", WITHIN_S)
        consumer.wait_ready()
        assert bus.members(GROUP) == 1
    assert set(writer.written) == set(range(200))
    print(f"the first batch was written {writer.batches.count(writer.batches[0])} times")
