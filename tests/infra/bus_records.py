"""Deliveries on a test's own topics, and clients that are closed after it."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from contracts import topics
from contracts.codec import encode
from contracts.envelope import Origin
from contracts.events import InstanceReceived, PayloadChunk
from contracts.example_catalog import examples_of
from infra.broker import KafkaPublisher
from infra.clock import SystemClock
from infra.provision_topics import provision_topics
from infra.seams import ConsumedRecord, OutgoingRecord, Publisher
from infra.settings import KafkaSettings, Settings
from infra.topic_tail import TopicTail
from tests.engines import delete_topics, isolated_settings
from tests.polling import eventually as eventually
from tests.polling import succeeded

ACKNOWLEDGED_WITHIN_S = 110.0  # below the producer's own delivery time-out
READ_WITHIN_S = 110.0
CLIENTS_OWN_WAIT_S = 60.0  # the client's max_block_ms, where nobody sets it
ORIGIN = Origin("/hilum/test/infra")


@pytest.fixture(scope="module")
def kafka(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """Every topic under a prefix of this module's, deleted at its end.

    Not one set for each test: 150 partitions each would occupy the broker with themselves.
    """
    settings = isolated_settings(engines, tmp_path_factory.mktemp("kafka"))
    succeeded(lambda: provision_topics(settings.kafka), "the topics are there")
    yield settings.kafka
    delete_topics(settings)


class Since:
    """What is put on a topic from now on."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._starts = self._ends()

    def records(self) -> list[ConsumedRecord]:
        """All that came up to now, in order by partition."""
        ends = self._ends()
        wanted = {number: at for number, at in self._starts.items() if at < ends[number]}
        count = sum(ends[number] - at for number, at in wanted.items())
        found: list[ConsumedRecord] = []
        tail = TopicTail(self._kafka, self._topic, sorted(wanted), wanted)
        until = time.monotonic() + READ_WITHIN_S
        while len(found) < count:
            assert time.monotonic() < until
            found += tail.poll(0.5)
        tail.close()
        return sorted(found, key=lambda record: (record.partition, record.offset))

    def values(self) -> list[bytes | None]:
        """The values of `records`."""
        return [record.value for record in self.records()]

    def _ends(self) -> dict[int, int]:
        tail = TopicTail(self._kafka, self._topic)
        try:
            return tail.end_offsets()
        finally:
            tail.close()


@contextmanager
def publisher_for(kafka: KafkaSettings) -> Iterator[KafkaPublisher]:
    """A publisher that is closed when the block ends."""
    publisher = KafkaPublisher(kafka, ORIGIN, SystemClock())
    try:
        yield publisher
    finally:
        publisher.close()


def record(
    value: bytes | None, topic: str = topics.RECEIVED.name, key: bytes | None = b"key"
) -> OutgoingRecord:
    """A record without headers."""
    return OutgoingRecord(topic, key, value, ())


def deliver(publisher: Publisher, number: int, size_bytes: int, partition: int) -> InstanceReceived:
    """Publishes the chunks of a delivery; its event names where they lie."""
    data = random.Random(number).randbytes(size_bytes)
    step = topics.CHUNK_BYTES_MAX
    parts = [data[start : start + step] for start in range(0, size_bytes, step)]
    delivery_id = f"01980000-0000-7000-8000-{number:012d}"
    pending = [
        publisher.publish(
            OutgoingRecord(
                topics.PAYLOAD.name,
                b"study",
                encode(PayloadChunk(delivery_id, index, len(parts), part)),
                (),
                partition,
            )
        )
        for index, part in enumerate(parts)
    ]
    places = [publication.result(ACKNOWLEDGED_WITHIN_S) for publication in pending]
    example = examples_of(InstanceReceived)[0]
    return replace(
        example,
        delivery_id=delivery_id,
        content=replace(example.content, content_sha256=hashlib.sha256(data).hexdigest()),
        size_bytes=size_bytes,
        payload_partition=partition,
        payload_offsets=tuple(place.offset for place in places),
    )
