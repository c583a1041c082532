"""Payload reader, tail, whole reads and lag on a real broker, where records may be gone."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from contracts import topics
from contracts.codec import encode
from contracts.events import InstanceReceived, PayloadChunk
from contracts.failures import FatalError
from infra.broker_client import consumer_options, producer_options
from infra.cluster_view import ClusterView, TopicLag, admin_client
from infra.payload_reader import LOOK_AHEAD_BYTES_MAX, KafkaPayloadReader
from infra.seams import ConsumedRecord, OffsetGoneError, OutgoingRecord, PayloadGoneError
from infra.settings import KafkaSettings
from infra.topic_tail import TopicTail, partitions_of, read_all
from tests.infra.bus_records import (
    ACKNOWLEDGED_WITHIN_S,
    Since,
    deliver,
    publisher_for,
    record,
)
from tests.polling import WITHIN_S, eventually

STEP = topics.CHUNK_BYTES_MAX


def sha256_of(reader: KafkaPayloadReader, event: InstanceReceived) -> str:
    digest = hashlib.sha256()
    for chunk in reader.open(event):
        digest.update(chunk)
    return digest.hexdigest()


def delete_before(kafka: KafkaSettings, topic: str, partition: int, offset: int) -> None:
    """What retention does, at once: the log's start moves to `offset`."""
    admin = admin_client(kafka)
    admin.delete_records({TopicPartition(kafka.topic_prefix + topic, partition): offset})
    admin.close()


def test_interleaved_deliveries_come_back_byte_for_byte_in_any_order(kafka: KafkaSettings) -> None:
    sizes = [1, 700, STEP, STEP + 1, 3 * STEP + 17]
    with publisher_for(kafka) as publisher:
        events = [
            deliver(publisher, number, sizes[number % len(sizes)], number % 3)
            for number in range(30)
        ]
    reader = KafkaPayloadReader(kafka)
    for seed in (None, 1, 2):
        if seed is not None:
            random.Random(seed).shuffle(events)
        for event in events:
            assert sha256_of(reader, event) == event.content.content_sha256
    assert reader._ahead_bytes <= LOOK_AHEAD_BYTES_MAX
    reader.close()
    assert sha256_of(reader, events[0]) == events[0].content.content_sha256, "usable again"
    reader.close()


def test_a_delivery_without_bytes_is_read_as_none(kafka: KafkaSettings) -> None:
    with publisher_for(kafka) as publisher:
        event = deliver(publisher, 1, 0, 0)
    assert event.payload_offsets == ()
    assert list(KafkaPayloadReader(kafka).open(event)) == []


def test_a_delivery_given_up_half_way_disturbs_no_other(kafka: KafkaSettings) -> None:
    with publisher_for(kafka) as publisher:
        events = [deliver(publisher, number, 3 * STEP, 5) for number in range(3)]
    reader = KafkaPayloadReader(kafka)
    assert next(iter(reader.open(events[0])))
    assert sha256_of(reader, events[1]) == events[1].content.content_sha256
    assert sha256_of(reader, events[0]) == events[0].content.content_sha256
    reader.close()


def test_payload_that_retention_took_is_gone(kafka: KafkaSettings) -> None:
    with publisher_for(kafka) as publisher:
        taken = deliver(publisher, 1, STEP + 5, 7)
        kept = deliver(publisher, 2, STEP + 5, 7)
        assert taken.payload_offsets and kept.payload_offsets
        delete_before(kafka, topics.PAYLOAD.name, 7, taken.payload_offsets[1])
        reader = KafkaPayloadReader(kafka)
        with pytest.raises(PayloadGoneError):
            sha256_of(reader, taken)
        assert sha256_of(reader, kept) == kept.content.content_sha256
        reader.close()


def test_payload_that_is_not_there_is_gone(kafka: KafkaSettings) -> None:
    with publisher_for(kafka) as publisher:
        event = deliver(publisher, 1, STEP + 5, 8)
        other = deliver(publisher, 2, STEP + 5, 8)
        foreign = publisher.publish(
            OutgoingRecord(topics.PAYLOAD.name, b"k", b"no chunk", (), 8)
        ).result(ACKNOWLEDGED_WITHIN_S)
    offsets, others = event.payload_offsets or (), other.payload_offsets or ()
    reader = KafkaPayloadReader(kafka)
    for wrong in (
        replace(event, payload_offsets=others),  # another delivery
        replace(event, payload_offsets=offsets[::-1]),  # another chunk_index
        replace(event, payload_offsets=offsets[:1]),  # another chunk_count
        replace(event, payload_offsets=(foreign.offset,)),  # no chunk at all
        replace(event, payload_offsets=(foreign.offset + 1,)),  # the log's end
        replace(event, payload_offsets=(10**9,)),  # far beyond it
        replace(event, payload_partition=None, payload_offsets=None),  # out of a manifest
        replace(event, payload_partition=topics.PAYLOAD.partitions),  # no such partition
    ):
        with pytest.raises(PayloadGoneError):
            list(reader.open(wrong))
    assert sha256_of(reader, event) == event.content.content_sha256
    reader.close()


def test_an_offset_without_a_record_is_gone(kafka: KafkaSettings) -> None:
    """A transaction's marker takes an offset that no reader ever sees."""
    value = encode(PayloadChunk("d", 0, 1, b"x"))
    marker = _transaction(kafka, topics.PAYLOAD.name, 9, value)
    with publisher_for(kafka) as publisher:
        event = deliver(publisher, 1, 10, 9)
    reader = KafkaPayloadReader(kafka)
    with pytest.raises(PayloadGoneError, match="no record there"):
        list(reader.open(replace(event, payload_offsets=(marker,))))
    assert sha256_of(reader, event) == event.content.content_sha256
    reader.close()


def _transaction(kafka: KafkaSettings, topic: str, partition: int, value: bytes) -> int:
    """One committed record; the offset of the marker behind it, which lies there on return."""
    producer = KafkaProducer(**producer_options(kafka), transactional_id=f"{kafka.topic_prefix}t")
    producer.init_transactions()
    producer.begin_transaction()
    sent = producer.send(kafka.topic_prefix + topic, value, key=b"k", partition=partition)
    producer.commit_transaction()
    producer.close()
    marker = int(sent.get(ACKNOWLEDGED_WITHIN_S).offset) + 1
    # The coordinator writes it after it has answered: a record published at once would be before.
    tail = TopicTail(kafka, topic, [partition], {})
    eventually(lambda: tail.end_offsets()[partition] > marker, "the marker")
    tail.close()
    return marker


def test_a_tail_starts_where_it_is_told_and_says_what_is_gone(kafka: KafkaSettings) -> None:
    name = topics.CUSTODY.name
    with publisher_for(kafka) as publisher:
        publisher.publish_all(
            [OutgoingRecord(name, b"k", b"%d" % n, (), 2) for n in range(10)],
            ACKNOWLEDGED_WITHIN_S,
        )
    tail = TopicTail(kafka, name, [2, 3], {2: 7})
    assert [each.value for each in first_of(tail, 3)] == [b"7", b"8", b"9"]
    assert tail.beginning_offsets() == {2: 0, 3: 0}
    assert tail.end_offsets() == {2: 10, 3: 0}
    tail.close()

    delete_before(kafka, name, 2, 4)
    gone = TopicTail(kafka, name, [2], {2: 1})
    for _ in range(2):  # it stays gone until the caller decides
        with pytest.raises(OffsetGoneError) as caught:
            first_of(gone, 1)
        assert caught.value.offsets == {2: 1}
    gone.seek_to_beginning(2)
    assert first_of(gone, 1)[0].offset == 4, "goes on at the start"
    gone.seek(2, 9)
    assert [each.offset for each in first_of(gone, 1)] == [9], "goes on where told"
    gone.seek(2, 1_000)
    with pytest.raises(OffsetGoneError):
        first_of(gone, 1)
    gone.close()


def first_of(tail: TopicTail, count: int) -> list[ConsumedRecord]:
    """What polls give until there are so many records; a poll may give a part of them."""
    found: list[ConsumedRecord] = []

    def is_enough() -> bool:
        found.extend(tail.poll(1.0))
        return len(found) >= count

    eventually(is_enough, f"{count} records")
    return found


def test_a_whole_read_ends_at_the_end_it_began_with(kafka: KafkaSettings) -> None:
    name = topics.USAGE.name
    since = Since(kafka, name)
    with publisher_for(kafka) as publisher:
        keys = [b"key-%d" % number for number in range(1_500)]
        publisher.publish_all([record(key, name, key) for key in keys], ACKNOWLEDGED_WITHIN_S)
        reading = read_all(kafka, name)
        first = next(reading)
        publisher.publish(record(b"later", name)).result(ACKNOWLEDGED_WITHIN_S)
        found = [first, *reading]
    assert sorted(each.key or b"" for each in found) == sorted(keys)
    assert len(since.records()) == len(keys) + 1


def test_a_whole_read_ends_behind_a_gap(kafka: KafkaSettings) -> None:
    """The last offset of the log is a transaction's marker, as compaction may leave gaps."""
    name = topics.GATEWAY_STATE.name
    _transaction(kafka, name, 4, b"state")
    assert [found.value for found in read_all(kafka, name, [4])] == [b"state"]


def test_a_whole_read_of_an_empty_topic_is_empty(kafka: KafkaSettings) -> None:
    assert list(read_all(kafka, topics.GATEWAY_REQUEST.name)) == []


def test_partitions_are_those_of_the_topic_table() -> None:
    assert partitions_of(topics.RECEIVED.name) == tuple(range(24))
    assert partitions_of(topics.RECEIVED.dlq_name) == (0,)
    with pytest.raises(FatalError, match="not in the topic table"):
        partitions_of("imaging.nowhere.v1")


def test_the_cluster_says_what_it_is(kafka: KafkaSettings) -> None:
    view = ClusterView(kafka)
    view.wait_until_reachable(WITHIN_S)
    assert view.cluster_id() == ClusterView(kafka).cluster_id() != ""
    first, second = view.topic_id(topics.CUSTODY.name), view.topic_id(topics.USAGE.name)
    assert first and second and first != second
    assert view.topic_id("imaging.nowhere.v1") is None
    assert view.partitions(topics.CUSTODY.name) == topics.CUSTODY.partitions
    assert view.partitions("imaging.nowhere.v1") is None
    view.close()


def test_lag_is_told_in_records_and_seconds(kafka: KafkaSettings) -> None:
    name, group = topics.PACK_REPLICATED.name, "lag-test"
    place = TopicPartition(kafka.topic_prefix + name, 3)
    with publisher_for(kafka) as publisher:
        publisher.publish_all(
            [OutgoingRecord(name, b"k", b"%d" % n, (), 3) for n in range(5)], ACKNOWLEDGED_WITHIN_S
        )
    view = ClusterView(kafka)
    consumer = KafkaConsumer(**consumer_options(kafka), group_id=kafka.topic_prefix + group)
    consumer.assign([place])
    consumer.commit({place: OffsetAndMetadata(2, "", -1)}, timeout_ms=60_000)
    asked = [name, topics.GATEWAY_REQUEST.name, "imaging.nowhere.v1"]
    lag: dict[str, TopicLag] = {}

    def is_age_known() -> bool:  # None where the broker did not tell it in time
        lag.update(view.group_lag(group, asked))
        return lag[name].seconds is not None

    eventually(is_age_known, "the age of the oldest record")
    assert set(lag) == set(asked[:2]), "a topic that does not exist is left out"
    assert lag[name].records == 3
    seconds = lag[name].seconds
    assert seconds is not None and 0 <= seconds < timedelta(minutes=5).total_seconds()
    assert (lag[asked[1]].records, lag[asked[1]].seconds) == (0, 0.0)
    consumer.commit({place: OffsetAndMetadata(5, "", -1)}, timeout_ms=60_000)
    assert view.group_lag(group, [name])[name].records == 0
    assert view.group_lag("never-seen", [name])[name].records == 5, "counts from the beginning"
    consumer.close(autocommit=False)
    view.close()
