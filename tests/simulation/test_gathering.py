"""When a batch is complete: by its limits, and earlier where waiting would buy nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from consumers.gather import Batch, Gatherer, breath_ms
from consumers.object_archive import LIMITS
from consumers.runner import effective_limits
from consumers.spec import BatchLimits, ConsumerSpec
from contracts.events import GatewayRequest
from infra.local_stack import local_stack_tree
from infra.schema_topic import SchemaLookup
from infra.settings import ConsumerSettings, validate
from tests.consumers.recording import INPUT, RecordingWriter, request
from tests.infra.bus_records import ORIGIN
from tests.simulation.bus import SimulatedBus, SimulatedPublisher
from tests.simulation.clock import SimulatedClock
from tests.simulation.group import SimulatedGroup, SimulatedMember

AGE_MS, QUIET_MS = 2_000, 250
EAGER = BatchLimits(5_000, 1_000_000, AGE_MS, quiet_ms=QUIET_MS, ripe_bytes=100)


@dataclass
class Bench:
    """A gatherer of events that count one byte each, and what is published while it gathers."""

    clock: SimulatedClock
    member: SimulatedMember
    publisher: SimulatedPublisher
    gatherer: Callable[[BatchLimits], Gatherer]

    def publish(self, count: int) -> None:
        for number in range(count):
            event = request(number)
            self.publisher.publish_event(event, event.gateway_id.encode(), str(number)).result(1.0)

    def gather(self, limits: BatchLimits, at: dict[int, int] | None = None) -> tuple[Batch, float]:
        """The batch and its milliseconds; `at`: how many records come after how many ms."""
        gatherer = self.gatherer(limits)
        assert gatherer.gather(threading.Event()) is None, "joining is an interruption"
        began = self.clock.monotonic()
        due = sorted((at or {}).items())

        def arrive() -> None:
            while due and (self.clock.monotonic() - began) * 1000 >= due[0][0]:
                self.publish(due.pop(0)[1])

        self.member.at_each_poll = arrive
        batch = gatherer.gather(threading.Event())
        assert batch is not None
        return batch, (self.clock.monotonic() - began) * 1000


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    clock = SimulatedClock()
    bus = SimulatedBus(clock)
    member: Any = SimulatedMember(SimulatedGroup(bus, "group", [INPUT.name]))
    kafka = validate(local_stack_tree(tmp_path, 0), "the test").kafka

    def gatherer(limits: BatchLimits) -> Gatherer:
        inputs = {INPUT: GatewayRequest}
        spec = ConsumerSpec("group", inputs, limits, lambda _: 1, lambda _: RecordingWriter())
        return Gatherer(spec, limits, member, clock, SchemaLookup(kafka))

    return Bench(clock, member, SimulatedPublisher(bus, ORIGIN), gatherer)


def test_a_burst_that_has_ended_is_not_waited_for(bench: Bench) -> None:
    batch, ms = bench.gather(EAGER, {0: 5, 110: 5})
    assert len(batch.raw) == 10
    assert ms < AGE_MS / 2


def test_without_quiet_ms_a_batch_waits_for_its_age(bench: Bench) -> None:
    batch, ms = bench.gather(replace(EAGER, quiet_ms=None), {0: 5, 110: 5, 900: 1})
    assert len(batch.raw) == 11
    assert ms >= AGE_MS


def test_one_record_alone_waits_for_the_others_of_its_study(bench: Bench) -> None:
    batch, ms = bench.gather(EAGER, {0: 1})
    assert len(batch.raw) == 1
    assert ms >= AGE_MS


def test_records_that_come_at_their_own_pace_are_gathered_on(bench: Bench) -> None:
    """Apart for longer than `quiet_ms`, each of them, as a slow modality sends."""
    batch, ms = bench.gather(EAGER, {n * 380: 1 for n in range(20)})
    assert len(batch.raw) >= 5
    assert ms >= AGE_MS


def test_a_ripe_batch_ends_when_no_more_is_there(bench: Bench) -> None:
    steady = {n * 20: 2 for n in range(200)}
    batch, ms = bench.gather(EAGER, steady)
    assert 100 <= len(batch.raw) < 150
    assert ms < AGE_MS
    # A backlog is taken up to the real limit.
    bench.member.close()
    bench.publish(800)
    batch, _ = bench.gather(replace(EAGER, bytes_max=700))
    assert len(batch.raw) == 700


def test_records_that_trickle_in_are_polled_together(bench: Bench) -> None:
    polls = 0
    gatherer = bench.gatherer(EAGER)
    assert gatherer.gather(threading.Event()) is None

    def arrive() -> None:
        nonlocal polls
        polls += 1
        bench.publish(1)

    bench.member.at_each_poll = arrive
    batch = gatherer.gather(threading.Event())
    assert batch is not None
    assert len(batch.raw) == polls <= AGE_MS / breath_ms(EAGER) + 1


def test_who_sets_a_limit_gets_batches_up_to_it() -> None:
    for own in (ConsumerSettings(batch_age_ms_max=500), ConsumerSettings(batch_bytes_max=1_000)):
        limits = effective_limits(LIMITS, own)
        assert limits.quiet_ms is None and limits.ripe_bytes is None
    assert effective_limits(LIMITS, ConsumerSettings()) == LIMITS
