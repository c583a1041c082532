"""The publisher on a real broker: what counts as published, and what a failure leaves."""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.producer.future import FutureProduceResult, FutureRecordMetadata
from kafka.structs import TopicPartition

from contracts import topics
from contracts.codec import decode
from contracts.events import EVENT_TYPES, InstanceReceived
from contracts.example_catalog import examples_of
from contracts.failures import FatalError, PoisonError, Reason, RetryableError
from infra.broker import KafkaPublisher, _Pending, partition_for_key
from infra.clock import SystemClock
from infra.cluster_view import admin_client
from infra.seams import OutgoingRecord
from infra.settings import KafkaSettings
from infra.topic_tail import TopicTail
from tests.infra.bus_records import (
    ACKNOWLEDGED_WITHIN_S,
    CLIENTS_OWN_WAIT_S,
    ORIGIN,
    Since,
    eventually,
    publisher_for,
    record,
)

NOISE = random.Random(7).randbytes(4 * 1024 * 1024)


@pytest.mark.parametrize(
    ("key", "murmur2"),
    [  # the values that Kafka's own client is tested against
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"abc", 479470107),
    ],
)
def test_keys_go_where_every_kafka_client_puts_them(key: bytes, murmur2: int) -> None:
    for partitions in (1, 6, 12, 24):
        assert partition_for_key(key, partitions) == (murmur2 & 0x7FFFFFFF) % partitions


def test_an_acknowledged_record_is_where_it_was_said_to_be(kafka: KafkaSettings) -> None:
    headers = (("ce_id", b"a"), ("traceparent", b"b"), ("empty", b""))
    outgoing = OutgoingRecord(topics.RECEIVED.name, b"abc", b"value", headers)
    # The broker's clock is this machine's, in milliseconds.
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    since = Since(kafka, topics.RECEIVED.name)
    with publisher_for(kafka) as publisher:
        place = publisher.publish(outgoing).result(ACKNOWLEDGED_WITHIN_S)
    assert place.topic == topics.RECEIVED.name, "without the prefix"
    assert place.partition == partition_for_key(b"abc", topics.RECEIVED.partitions)
    (found,) = since.records()
    assert (found.topic, found.partition, found.offset) == (
        place.topic,
        place.partition,
        place.offset,
    )
    assert (found.key, found.value, found.headers) == (b"abc", b"value", headers)
    assert before <= found.timestamp <= datetime.now(UTC), "the broker's append time"


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_event_goes_to_its_topic_with_its_headers(
    kafka: KafkaSettings, kind: type[InstanceReceived]
) -> None:
    example = examples_of(kind)[0]
    since = Since(kafka, topics.BY_EVENT[kind].name)
    with publisher_for(kafka) as publisher:
        publisher.publish_event(example, b"k", "an-id").result(ACKNOWLEDGED_WITHIN_S)
    (found,) = since.records()
    assert decode(found.value or b"", kind) == example
    assert dict(found.headers)["ce_id"] == b"an-id"
    assert dict(found.headers)["ce_source"] == b"/hilum/test/infra"


def test_an_explicit_partition_wins_over_the_key(kafka: KafkaSettings) -> None:
    outgoing = OutgoingRecord(topics.CUSTODY.name, b"abc", b"v", (), partition=11)
    with publisher_for(kafka) as publisher:
        assert publisher.publish(outgoing).result(ACKNOWLEDGED_WITHIN_S).partition == 11
        with pytest.raises(FatalError, match="no partition 12"):
            publisher.publish(OutgoingRecord(topics.CUSTODY.name, b"abc", b"v", (), partition=12))


@pytest.mark.parametrize(("key", "value"), [(None, b"v"), (b"k", None), (b"", b"")])
def test_a_dead_letter_repeats_a_record_without_key_or_value(
    kafka: KafkaSettings, key: bytes | None, value: bytes | None
) -> None:
    outgoing = record(value, topics.RECEIVED.dlq_name, key)
    since = Since(kafka, topics.RECEIVED.dlq_name)
    with publisher_for(kafka) as publisher:
        publisher.publish_all([outgoing], ACKNOWLEDGED_WITHIN_S)
    (found,) = since.records()
    assert (found.key, found.value) == (key, value)


def test_records_of_one_key_keep_their_order(kafka: KafkaSettings) -> None:
    values = [str(number).encode() for number in range(2_000)]
    since = Since(kafka, topics.RECEIVED.name)
    with publisher_for(kafka) as publisher:
        publisher.publish_all([record(value) for value in values], ACKNOWLEDGED_WITHIN_S)
    assert since.values() == values


def test_a_large_record_that_compresses_passes(kafka: KafkaSettings) -> None:
    siblings = b'{"vr":"LO","Value":["Example"]}' * 150_000
    since = Since(kafka, topics.RECEIVED.name)
    with publisher_for(kafka) as publisher:
        publisher.publish(record(siblings)).result(ACKNOWLEDGED_WITHIN_S)
    assert since.values() == [siblings]


@pytest.mark.parametrize(
    ("topic", "size_bytes"),
    [(topics.PAYLOAD.name, 1_048_588), (topics.RECEIVED.name, 2_000_000)],
)
def test_a_record_that_is_too_large_is_poison_and_harms_no_other(
    kafka: KafkaSettings, topic: str, size_bytes: int
) -> None:
    since = Since(kafka, topic)
    with publisher_for(kafka) as publisher:
        first = publisher.publish(record(b"first", topic))
        with pytest.raises(PoisonError) as caught:
            publisher.publish(record(NOISE[:size_bytes], topic))
        last = publisher.publish(record(b"last", topic))
        for publication in (first, last):
            publication.result(ACKNOWLEDGED_WITHIN_S)
    assert caught.value.reason is Reason.OVERSIZE
    assert since.values() == [b"first", b"last"]


def test_what_a_topic_takes_its_dead_letter_topic_takes_too(kafka: KafkaSettings) -> None:
    largest = NOISE[: topics.PAYLOAD.message_bytes_max - 400]
    added = (("hilum-detail", NOISE[:8_000]),)
    since = Since(kafka, topics.PAYLOAD.dlq_name)
    dead = OutgoingRecord(topics.PAYLOAD.dlq_name, b"key", largest, added)
    with publisher_for(kafka) as publisher:
        publisher.publish_all([record(largest, topics.PAYLOAD.name), dead], ACKNOWLEDGED_WITHIN_S)
    assert since.values() == [largest]


def test_a_full_chunk_fits_a_stock_broker() -> None:
    assert topics.CHUNK_BYTES_MAX + 2_048 < topics.PAYLOAD.message_bytes_max == 1_048_588


def test_a_topic_that_is_missing_is_retryable_within_the_wait(kafka: KafkaSettings) -> None:
    before = time.monotonic()
    with publisher_for(kafka) as publisher, pytest.raises(RetryableError):
        publisher.publish(record(b"x", "imaging.nowhere.v1"))
    assert time.monotonic() - before < CLIENTS_OWN_WAIT_S


def test_after_a_refusal_that_ends_the_producer_a_new_one_takes_over(
    kafka: KafkaSettings,
) -> None:
    """The broker takes less than the table says: nobody's record is at fault, and it heals."""
    refusals: list[FatalError] = []

    def is_taken() -> bool:
        try:
            publisher.publish(record(NOISE[:50_000])).result(ACKNOWLEDGED_WITHIN_S)
        except FatalError as failure:
            refusals.append(failure)
            return False
        return True

    with publisher_for(kafka) as publisher:
        _set_message_bytes_max(kafka, 10_000)
        eventually(lambda: not is_taken(), "the broker refuses")
        assert "max.message.bytes" in refusals[0].next_step
        _set_message_bytes_max(kafka, topics.RECEIVED.message_bytes_max)
        eventually(is_taken, "a new producer publishes")


def _set_message_bytes_max(kafka: KafkaSettings, size_bytes: int) -> None:
    name = kafka.topic_prefix + topics.RECEIVED.name
    wanted = {"max.message.bytes": str(size_bytes)}
    admin = admin_client(kafka)
    try:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, wanted)])
    finally:
        admin.close()


def test_an_acknowledgement_without_an_offset_is_none(kafka: KafkaSettings) -> None:
    """A repeat whose offset the broker forgot is success to the client, but nobody can read it."""
    produced = FutureProduceResult(TopicPartition("t", 0))
    future = FutureRecordMetadata(produced, 0, 0, None, 1, 1, 0)
    produced.success((-1, -1, None))
    with publisher_for(kafka) as publisher, pytest.raises(RetryableError, match="without an"):
        _Pending(publisher._payload, None, future, "t").result(1.0)


def test_a_publisher_may_be_used_from_many_threads(kafka: KafkaSettings) -> None:
    since = Since(kafka, topics.RECEIVED.name)
    with publisher_for(kafka) as publisher:

        def publish(number: int) -> None:
            values = [record(b"%d-%d" % (number, each)) for each in range(100)]
            publisher.publish_all(values, ACKNOWLEDGED_WITHIN_S)

        threads = [threading.Thread(target=publish, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(ACKNOWLEDGED_WITHIN_S)
    assert len(set(since.values())) == 800


def test_a_closed_publisher_refuses_and_leaves_no_thread(kafka: KafkaSettings) -> None:
    before = set(threading.enumerate())
    publisher = KafkaPublisher(kafka, ORIGIN, SystemClock())
    publisher.publish(record(b"x")).result(ACKNOWLEDGED_WITHIN_S)
    publisher.publish(record(b"x", topics.PAYLOAD.name)).result(ACKNOWLEDGED_WITHIN_S)
    publisher.close()
    eventually(lambda: set(threading.enumerate()) <= before, "threads end")
    with pytest.raises(RetryableError, match="closed"):
        publisher.publish(record(b"x"))
    publisher.close()


def test_a_tail_sees_what_comes_after_it(kafka: KafkaSettings) -> None:
    tail = TopicTail(kafka, topics.CUSTODY.name, [3])
    with publisher_for(kafka) as publisher:
        assert tail.poll(0.5) == []
        for number in range(3):
            outgoing = OutgoingRecord(topics.CUSTODY.name, b"k", b"%d" % number, (), 3)
            publisher.publish(outgoing).result(ACKNOWLEDGED_WITHIN_S)
            found: list[bytes | None] = []

            def is_seen(found: list[bytes | None] = found) -> bool:
                found += [each.value for each in tail.poll(1.0)]
                return bool(found)

            eventually(is_seen, "what came after it")
            assert found == [b"%d" % number]
    assert tail.position(3) == 3
    tail.close()
