"""A broker that is down at the start, goes down, comes back, or comes back without its data."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contracts import topics
from contracts.failures import RetryableError
from infra.broker import KafkaPublisher
from infra.clock import SystemClock
from infra.cluster_view import ClusterView
from infra.engines.kafka import kafka_program
from infra.payload_reader import KafkaPayloadReader
from infra.provision_topics import provision_topics
from infra.seams import OffsetGoneError, PayloadGoneError
from infra.settings import KafkaSettings
from infra.topic_tail import TopicTail, read_all
from tests.engines import RunningEngines, start_engines
from tests.infra.bus_records import (
    ACKNOWLEDGED_WITHIN_S,
    CLIENTS_OWN_WAIT_S,
    ORIGIN,
    deliver,
    publisher_for,
    record,
)
from tests.polling import WITHIN_S, eventually, succeeded


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngines]:
    """A Kafka of this module's own, to be killed."""
    directory = tmp_path_factory.mktemp("broker-down")
    engines = start_engines(directory, only=lambda name: name == "kafka")
    try:
        yield engines
    finally:
        engines.stop()


@pytest.fixture
def kafka(broker: RunningEngines) -> KafkaSettings:
    if broker.processes["kafka"].poll() is not None:
        broker.start("kafka")
    broker.await_ready()
    kafka = broker.settings.kafka
    succeeded(lambda: provision_topics(kafka), "topics are there")
    return kafka


def test_clients_are_built_while_the_broker_is_down_and_catch_up(
    broker: RunningEngines, kafka: KafkaSettings
) -> None:
    broker.kill("kafka")
    publisher = KafkaPublisher(kafka, ORIGIN, SystemClock())
    tail = TopicTail(kafka, topics.RECEIVED.name)
    view = ClusterView(kafka)
    before = time.monotonic()
    with pytest.raises(RetryableError):
        publisher.publish(record(b"x"))
    with pytest.raises(RetryableError):
        view.cluster_id()
    assert tail.poll(0.5) == [], "silence"
    assert time.monotonic() - before < CLIENTS_OWN_WAIT_S
    broker.start("kafka")
    broker.await_ready()  # how long a broker takes to start is not what is told here
    succeeded(lambda: publisher.publish(record(b"after")).result(10), "published")
    seen: list[bytes | None] = []

    def is_seen() -> bool:
        seen.extend(found.value for found in tail.poll(0.5))
        return b"after" in seen

    eventually(is_seen, "the tail sees it")
    view.wait_until_reachable(WITHIN_S)
    for client in (publisher, tail, view):
        client.close()


def test_what_was_queued_when_the_broker_died_is_acknowledged_when_it_is_back(
    broker: RunningEngines, kafka: KafkaSettings
) -> None:
    # On a busy machine a broker may take longer to start than the ordinary time-out.
    patient = kafka.model_copy(update={"delivery_timeout_ms": 400_000})
    with publisher_for(patient) as publisher:
        publisher.publish(record(b"warm")).result(ACKNOWLEDGED_WITHIN_S)
        broker.kill("kafka")
        queued = [publisher.publish(record(b"queued-%d" % number)) for number in range(50)]
        with pytest.raises(RetryableError):
            queued[0].result(1.0)
        assert not any(publication.done() for publication in queued)
        broker.start("kafka")
        broker.await_ready()
        for publication in queued:
            publication.result(ACKNOWLEDGED_WITHIN_S)
    found = [each.value for each in read_all(kafka, topics.RECEIVED.name)]
    mine = [value for value in found if value and value.startswith(b"queued-")]
    assert mine == [b"queued-%d" % number for number in range(50)], "in order, none twice"


def test_a_record_that_is_not_acknowledged_in_time_is_retryable_and_the_next_one_goes(
    broker: RunningEngines, kafka: KafkaSettings
) -> None:
    impatient = kafka.model_copy(update={"delivery_timeout_ms": 5_000, "request_timeout_ms": 2_000})
    with publisher_for(impatient) as publisher:
        # So impatient a publisher may give up this one too, on a busy machine.
        succeeded(lambda: publisher.publish(record(b"warm")).result(10), "the first")
        broker.kill("kafka")
        given_up = publisher.publish(record(b"late"))
        eventually(given_up.done, "it is given up")
        with pytest.raises(RetryableError):
            given_up.result(0.0)
        broker.start("kafka")
        broker.await_ready()
        succeeded(lambda: publisher.publish(record(b"next")).result(10), "the next")
        with pytest.raises(RetryableError):
            given_up.result(0.0)


def test_closing_is_bounded_while_the_broker_is_down(
    broker: RunningEngines, kafka: KafkaSettings
) -> None:
    threads_before = set(threading.enumerate())
    publisher = KafkaPublisher(kafka, ORIGIN, SystemClock())
    publisher.publish(record(b"warm")).result(ACKNOWLEDGED_WITHIN_S)
    publisher.publish(record(b"warm", topics.PAYLOAD.name)).result(ACKNOWLEDGED_WITHIN_S)
    broker.kill("kafka")
    queued = [
        publisher.publish(record(b"x", name))
        for name in (topics.RECEIVED.name, topics.PAYLOAD.name)
    ]
    before = time.monotonic()
    publisher.close()
    # It waits for no acknowledgement: that would take the whole delivery time-out.
    assert time.monotonic() - before < kafka.delivery_timeout_ms / 1000 / 2
    for publication in queued:
        with pytest.raises(RetryableError):
            publication.result(5.0)
    eventually(lambda: set(threading.enumerate()) <= threads_before, "threads end")


def test_a_reader_waits_for_the_broker_and_finds_its_place(
    broker: RunningEngines, kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with publisher_for(kafka) as publisher:
        events = [deliver(publisher, number, 2_000_000, 1) for number in range(3)]
    reader = KafkaPayloadReader(kafka)
    assert b"".join(reader.open(events[0]))
    broker.kill("kafka")
    with monkeypatch.context() as impatient:
        impatient.setattr("infra.payload_reader.READ_TIMEOUT_S", 3.0)
        far = KafkaPayloadReader(kafka)
        with pytest.raises(RetryableError):
            list(far.open(events[2]))
    far.close()
    broker.start("kafka")
    broker.await_ready()

    def is_read() -> bool:
        try:
            data = b"".join(reader.open(events[2]))
        except RetryableError:
            return False
        return hashlib.sha256(data).hexdigest() == events[2].content.content_sha256

    eventually(is_read, "the reader goes on")
    reader.close()


def test_lost_data_is_noticed_by_everyone(broker: RunningEngines, kafka: KafkaSettings) -> None:
    """The same address with empty disks: ids differ, offsets are gone, nothing is skipped."""
    view = ClusterView(kafka)
    with publisher_for(kafka) as publisher:
        event = deliver(publisher, 1, 100_000, 2)
        publisher.publish_all([record(b"%d" % n) for n in range(5)], ACKNOWLEDGED_WITHIN_S)
        cluster_id, topic_id = view.cluster_id(), view.topic_id(topics.PAYLOAD.name)
        reader = KafkaPayloadReader(kafka)
        assert b"".join(reader.open(event))
        partition = next(iter(read_all(kafka, topics.RECEIVED.name))).partition
        tail = TopicTail(kafka, topics.RECEIVED.name, [partition])
        eventually(lambda: bool(tail.poll(1.0)), "the tail is at the end")

        broker.kill("kafka")
        _empty_disks(broker)
        broker.start("kafka")
        broker.await_ready()
        succeeded(lambda: provision_topics(kafka), "topics are there again")
        assert succeeded(view.cluster_id, "the cluster answers") != cluster_id
        payload = succeeded(lambda: view.topic_id(topics.PAYLOAD.name), "the cluster answers")
        assert payload not in (topic_id, None)

        def is_gone(work: Callable[[], object]) -> bool:
            try:
                work()
            except RetryableError:
                return False
            except (PayloadGoneError, OffsetGoneError):
                return True
            return False

        eventually(lambda: is_gone(lambda: list(reader.open(event))), "payload is gone")
        eventually(lambda: is_gone(lambda: tail.poll(1.0)), "the tail's place is gone")
        succeeded(lambda: publisher.publish(record(b"new")).result(10), "published")
    assert [found.value for found in read_all(kafka, topics.RECEIVED.name)][-1] == b"new"
    for client in (reader, tail, view):
        client.close()


def _empty_disks(broker: RunningEngines) -> None:
    """A new node at the same address, as after the loss of every broker's disk."""
    data = Path(broker.directory) / "kafka"
    shutil.rmtree(data)
    port = int(broker.settings.kafka.bootstrap_servers.rpartition(":")[2])
    broker.programs["kafka"] = kafka_program(data, port, port + 1)
