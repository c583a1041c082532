"""Partitions that were paused with records in the client's hands are read on afterwards."""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import replace
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from contracts.envelope import Origin
from contracts.events import InstanceReceived, PayloadChunk
from contracts.example_catalog import examples_of
from contracts.topics import PAYLOAD
from infra.broker import KafkaPublisher
from infra.broker_client import consumer_options, restore_parked
from infra.clock import SystemClock
from infra.payload_reader import KafkaPayloadReader
from infra.provision_topics import provision_topics
from infra.settings import Settings
from tests.infra.bus_records import ACKNOWLEDGED_WITHIN_S
from tests.polling import succeeded

DELIVERIES, CHUNK_BYTES, PARTITIONS = 40, 20_000, 4
WITHIN_S = 200.0


def publish(settings: Settings) -> list[InstanceReceived]:
    """Deliveries of two chunks each, on a few partitions."""
    succeeded(lambda: provision_topics(settings.kafka), "the topics are there")
    publisher = KafkaPublisher(settings.kafka, Origin("/hilum/test"), SystemClock())
    told = []
    for number in range(DELIVERIES):
        delivery_id = str(uuid.UUID(int=number))
        pending = [
            publisher.publish_event(
                PayloadChunk(delivery_id, index, 2, bytes([number]) * CHUNK_BYTES),
                b"study-%d" % (number % PARTITIONS),
                "test",
            )
            for index in range(2)
        ]
        at = [publication.result(ACKNOWLEDGED_WITHIN_S) for publication in pending]
        told.append(
            replace(
                examples_of(InstanceReceived)[0],
                delivery_id=delivery_id,
                payload_partition=at[0].partition,
                payload_offsets=tuple(place.offset for place in at),
            )
        )
    publisher.close()
    return told


def test_deliveries_are_read_in_any_order_and_again(engine_settings: Settings) -> None:
    told = publish(engine_settings)
    reader = KafkaPayloadReader(engine_settings.kafka)
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    order = random.Random(seed)
    for _ in range(5):
        for event in order.sample(told, len(told)):
            data = b"".join(reader.open(event))
            assert data == bytes([uuid.UUID(event.delivery_id).int]) * CHUNK_BYTES * 2
    reader.close()


def test_a_paused_partition_with_records_in_hand_is_read_on(engine_settings: Settings) -> None:
    publish(engine_settings)
    consumer: Any = KafkaConsumer(**consumer_options(engine_settings.kafka))
    topic = engine_settings.kafka.topic_prefix + PAYLOAD.name
    partitions = [TopicPartition(topic, number) for number in range(PAYLOAD.partitions)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    seen = 0
    until = time.monotonic() + WITHIN_S
    while seen < 2 * DELIVERIES and time.monotonic() < until:
        restore_parked(consumer)
        polled = consumer.poll(timeout_ms=200, max_records=1)
        seen += sum(len(records) for records in polled.values())
        # each time another partition stands in the way with records in hand
        consumer.resume(*consumer.paused())
        consumer.pause(*polled)
    consumer.close(autocommit=False)
    assert seen == 2 * DELIVERIES
