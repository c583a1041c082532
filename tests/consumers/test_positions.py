"""Where a consumer begins and goes on: nothing is stepped over in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition

from contracts.failures import FatalError
from infra.cluster_view import admin_client
from infra.provision_topics import provision_topics
from infra.settings import Settings
from tests.consumers.bus import Bus, bus_of, delete_topics, eventually
from tests.consumers.recording import INPUT, RecordingWriter, publish_numbers, running
from tests.engines import RunningEngines, isolated_settings, start_engines
from tests.polling import succeeded

GROUP = "recording"


@pytest.fixture
def bus(engine_settings: Settings) -> Iterator[Bus]:
    with bus_of(engine_settings.kafka) as ready:
        yield ready


def consume_all(bus: Bus, settings: Settings, directory: Path) -> list[int]:
    """What one run of the consumer writes until nothing is left."""
    writer = RecordingWriter()
    with running(settings, directory, writer) as consumer:
        eventually(
            lambda: consumer.failure is not None or bus.lag(GROUP, [INPUT]) == 0, "all committed"
        )
        if consumer.failure is not None:
            raise consumer.failure
    return sorted(writer.written)


def delete_before_end(bus: Bus) -> None:
    """Takes away every record there is, as retention would."""
    wire_topic = bus.kafka.topic_prefix + INPUT.name
    admin: Any = admin_client(bus.kafka)
    admin.delete_records({TopicPartition(wire_topic, p): -1 for p in range(INPUT.partitions)})
    admin.close()


def test_the_first_start_is_at_the_logs_own_start(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    publish_numbers(bus, range(100))
    delete_before_end(bus)
    publish_numbers(bus, range(100, 130))
    assert consume_all(bus, engine_settings, tmp_path) == list(range(100, 130))


def test_records_that_retention_took_stop_the_consumer(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    publish_numbers(bus, range(100))
    consume_all(bus, engine_settings, tmp_path)
    publish_numbers(bus, range(100, 200))
    delete_before_end(bus)
    publish_numbers(bus, range(200, 300))
    with pytest.raises(FatalError, match="history is missing") as stopped:
        consume_all(bus, engine_settings, tmp_path)
    assert "hilum replay" in stopped.value.next_step


def test_a_topic_made_anew_is_read_from_its_start(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    publish_numbers(bus, range(100))
    consume_all(bus, engine_settings, tmp_path)
    remake_topic(bus)
    # as many records as before: the committed offsets are in range and mean other records
    publish_numbers(bus, range(1_000, 1_100))
    publish_numbers(bus, range(1_100, 1_200))
    writer = RecordingWriter()
    with running(engine_settings, tmp_path, writer):
        eventually(lambda: len(writer.written) >= 200, "the new topic's records")
    assert sorted(writer.written) == list(range(1_000, 1_200))


def test_a_topic_made_anew_under_a_running_consumer_is_read_from_its_start(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    publish_numbers(bus, range(100))
    writer = RecordingWriter()
    with running(engine_settings, tmp_path, writer):
        eventually(lambda: bus.lag(GROUP, [INPUT]) == 0, "all committed")
        remake_topic(bus)
        publish_numbers(bus, range(1_000, 1_300))
        eventually(lambda: len(set(writer.written)) >= 400, "the new topic's records")
    assert set(writer.written) == {*range(100), *range(1_000, 1_300)}


def remake_topic(bus: Bus) -> None:
    """Another topic of the same name."""
    before = bus.view.topic_id(INPUT.name)
    delete_topics(bus.kafka, [INPUT.name])
    eventually(lambda: bus.view.topic_id(INPUT.name) is None, "the topic gone")
    succeeded(lambda: provision_topics(bus.kafka), "the topics are there")
    eventually(lambda: bus.view.topic_id(INPUT.name) not in (None, before), "another topic")


def test_a_missing_topic_stops_the_consumer(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    delete_topics(bus.kafka, [INPUT.name])
    with running(engine_settings, tmp_path, RecordingWriter()) as consumer:
        failure = consumer.wait_failed()
    assert isinstance(failure, FatalError) and "no such topic" in str(failure)


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngines]:
    """A broker of these tests alone, which they may kill."""
    engines = start_engines(tmp_path_factory.mktemp("kafka"), only=lambda name: name == "kafka")
    try:
        yield engines
    finally:
        engines.stop()


def test_a_broker_that_dies_and_comes_back_is_waited_for(
    own_kafka: RunningEngines, tmp_path: Path
) -> None:
    settings = isolated_settings(own_kafka.settings, tmp_path)
    writer = RecordingWriter()
    with bus_of(settings.kafka) as bus:
        publish_numbers(bus, range(100))
        own_kafka.kill("kafka")
        with running(settings, tmp_path, writer) as consumer:
            eventually(lambda: "retrying" in consumer.runner.readiness.reason, "a reason")
            assert not consumer.runner.readiness.is_ready
            own_kafka.start("kafka")
            own_kafka.await_ready()
            eventually(lambda: len(writer.written) >= 100, "the first records")
            consumer.wait_ready()
            own_kafka.kill("kafka")
            eventually(
                lambda: not consumer.runner.readiness.is_ready, "noticing it without records"
            )
            own_kafka.start("kafka")
            own_kafka.await_ready()
            publish_numbers(bus, range(100, 200))
            eventually(lambda: len(set(writer.written)) >= 200, "the later records")
            eventually(lambda: bus.lag(GROUP, [INPUT]) == 0, "all committed")
            consumer.wait_ready()
    assert set(writer.written) == set(range(200))
