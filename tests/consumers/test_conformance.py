"""What holds for every consumer of the catalogue, whatever it writes.

A new consumer is tested by being in the catalogue; it needs a check in `final_states`, and a
story that tells its inputs.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from consumers import runner, usage_analytics
from consumers.catalog import CATALOG
from consumers.spec import ConsumerSpec, Record, Rejection, Writer
from contracts.codec import encode
from contracts.example_catalog import examples_of
from contracts.failures import Reason
from contracts.topics import RECEIVED, Topic
from tests.consumers import story
from tests.consumers.bus import eventually, header
from tests.consumers.final_states import FINAL_STATES
from tests.consumers.story import Delivery
from tests.consumers.world import World, member_of, settings_file

ROOT = Path(__file__).resolve().parents[2]
CHILD_S = 150.0
HOLD_S = 150.0
every_consumer = pytest.mark.parametrize("spec", CATALOG, ids=lambda spec: spec.name)


@pytest.fixture(autouse=True)
def _nothing_pauses_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after a pause is tested here; how long pauses are, in test_limits."""
    monkeypatch.setattr(runner, "RETRY_S_MAX", 1.0)
    monkeypatch.setattr(usage_analytics, "ROUND_INTERVAL_S", 0.5)


def publish_story(
    world: World, spec: ConsumerSpec, count: int = 40, a_study: int = 5
) -> list[Delivery]:
    """Some deliveries, told to this consumer's inputs."""
    told = story.deliveries(count, a_study)
    for events in world.tell(told, list(spec.inputs)).values():
        world.publish(events)
    return told


def assert_whole(world: World, spec: ConsumerSpec, told: Sequence[Delivery]) -> None:
    """The consumer's final state is that of the story, and nothing was set aside."""
    FINAL_STATES[spec.name](world, told)
    assert [len(world.bus.dead_letters(topic)) for topic in spec.inputs] == [0] * len(spec.inputs)


def test_every_consumer_has_a_final_state() -> None:
    assert set(FINAL_STATES) == {spec.name for spec in CATALOG}


@every_consumer
def test_every_contract_example_is_accepted(world: World, spec: ConsumerSpec) -> None:
    told = world.tell(story.example_deliveries(), list(spec.inputs))
    for topic, event_type in spec.inputs.items():
        # with the payload's place in this log instead of the example's
        world.publish(told[topic] if topic is RECEIVED else examples_of(event_type))
    with member_of(world, spec):
        world.wait_committed(spec)
    assert {topic.name: world.bus.dead_letters(topic) for topic in spec.inputs} == {
        topic.name: [] for topic in spec.inputs
    }


@every_consumer
def test_a_kill_between_write_and_commit_loses_and_doubles_nothing(
    world: World, spec: ConsumerSpec, tmp_path: Path
) -> None:
    told = publish_story(world, spec)
    settings = settings_file(world.settings, tmp_path / "settings.json")
    command = [sys.executable, "-m", "tests.consumers.killed", spec.name, str(settings)]
    child = subprocess.run(command, cwd=ROOT, timeout=CHILD_S, check=False, capture_output=True)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()[-2_000:]
    assert world.bus.lag(spec.name, list(spec.inputs)) > 0
    with member_of(world, spec):
        world.wait_committed(spec)
        assert_whole(world, spec, told)


@every_consumer
def test_the_same_records_twice_are_the_same_as_once(world: World, spec: ConsumerSpec) -> None:
    told = story.deliveries(40)
    events = world.tell(told, list(spec.inputs))
    for _ in range(2):
        for topic in spec.inputs:
            world.publish(events[topic])
    with member_of(world, spec):
        world.wait_committed(spec)
        assert_whole(world, spec, told)


@every_consumer
def test_one_poison_among_many_is_a_dead_letter_and_the_others_are_written(
    world: World, spec: ConsumerSpec
) -> None:
    told = story.deliveries(40)
    events = world.tell(told, list(spec.inputs))
    poison: dict[Topic, bytes] = {}
    for topic in spec.inputs:
        half = len(events[topic]) // 2
        world.publish(events[topic][:half])
        event = events[topic][half]
        poison[topic] = encode(event)[:-2]
        key = story.key_of(event)
        world.bus.publish([world.bus.event_record(event, key, poison[topic], "poison")])
        world.publish(events[topic][half:])
    with member_of(world, spec):
        world.wait_committed(spec)
        FINAL_STATES[spec.name](world, told)
    for topic in spec.inputs:
        (letter,) = world.bus.dead_letters(topic)
        assert letter.value == poison[topic]
        assert header(letter, "hilum-reason") == Reason.MALFORMED_AVRO
        assert header(letter, "hilum-consumer") == spec.name


@every_consumer
def test_sinks_that_are_down_are_waited_for(world: World, spec: ConsumerSpec) -> None:
    world.shut_sinks()
    told = publish_story(world, spec)
    before = world.bus.lag(spec.name, list(spec.inputs))
    with member_of(world, spec) as member:
        member.wait_reason("retrying")
        assert world.bus.lag(spec.name, list(spec.inputs)) == before
        world.open_sinks()
        eventually(lambda: member.runner.readiness.is_ready, "running again")
        later = publish_story(world, spec, 10)
        world.shut_sinks()
        world.open_sinks()
        world.wait_committed(spec)
        assert_whole(world, spec, told + later)


@every_consumer
def test_a_rebalance_during_back_off_loses_nothing(world: World, spec: ConsumerSpec) -> None:
    world.shut_sinks()
    # Studies are the keys: as many that each member's partitions have some of them.
    told = publish_story(world, spec, a_study=2)
    with member_of(world, spec) as first:
        first.wait_reason("retrying")
        with member_of(world, spec, 2) as second:
            eventually(lambda: world.bus.members(spec.name) == 2, "two members")
            second.wait_reason("retrying")
            world.open_sinks()
            world.wait_committed(spec)
            assert_whole(world, spec, told)


class Held:
    """Holds its first batch until the test lets go."""

    def __init__(self, inner: Writer) -> None:
        self._inner = inner
        self.is_writing = threading.Event()
        self.may_go_on = threading.Event()

    def write(self, batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        self.is_writing.set()
        assert self.may_go_on.wait(HOLD_S)
        return self._inner.write(batch)

    def tick(self) -> None:
        self._inner.tick()

    def close(self) -> None:
        self._inner.close()


@every_consumer
def test_a_rebalance_in_mid_batch_loses_nothing(world: World, spec: ConsumerSpec) -> None:
    told = publish_story(world, spec)
    made: list[Held] = []

    def hold(inner: Writer) -> Writer:
        made.append(Held(inner))
        return made[0]

    with member_of(world, spec, wrap=hold):
        eventually(lambda: bool(made) and made[0].is_writing.is_set(), "a batch in hand")
        with member_of(world, spec, 2):
            eventually(lambda: world.bus.group_state(spec.name) != "Stable", "a rebalance")
            made[0].may_go_on.set()
            world.wait_committed(spec)
            assert_whole(world, spec, told)


@pytest.mark.parametrize(
    "spec", [spec for spec in CATALOG if len(spec.inputs) > 1], ids=lambda spec: spec.name
)
def test_inputs_in_any_order_end_alike(world: World, spec: ConsumerSpec) -> None:
    told: list[Delivery] = []
    with member_of(world, spec):
        for order in story.in_orders(list(spec.inputs)):
            later = story.deliveries(15)
            events = world.tell(later, list(spec.inputs))
            for topic in order:
                world.publish(events[topic])
                world.wait_committed(spec)
            told += later
            assert_whole(world, spec, told)
