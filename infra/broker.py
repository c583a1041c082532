"""The producer side of Kafka: records out, acknowledged by all in-sync replicas.

Invariant: only an acknowledged record with its offset counts as published. What a broken producer
held is reported as not acknowledged, never guessed. Must not bound memory for its callers: each
bounds what it has in flight.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import zstandard
from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.partitioner import murmur2

from contracts import codec, topics
from contracts.envelope import Origin, event_headers
from contracts.events import Event, SchemaPublished
from contracts.failures import FatalError, PoisonError, Reason, RetryableError
from infra.broker_client import CLOSE_TIMEOUT_S, producer_options
from infra.broker_errors import ends_the_producer, translate, translated
from infra.clock import Clock
from infra.schema_topic import SchemaTeller
from infra.seams import OutgoingRecord, PendingPublication, PublishedAt
from infra.settings import KafkaSettings

# How long `publish` may wait for the first metadata of a topic before it says "unreachable".
METADATA_WAIT_MS = 5_000
# Once in the life of a publisher, for each event with a newer schema.
SCHEMA_WAIT_S = 10.0
# Batches gather what is sent within one C-STORE's time; more would delay every event by it.
LINGER_MS = 2
# One full chunk fits, and several small ones together stay below a stock max.message.bytes.
PAYLOAD_BATCH_BYTES = 1_000_000
EVENT_BATCH_BYTES = 512 * 1024
# Batch header, varints and headers beside key and value (KIP-98: 61 + at most 21 a record).
RECORD_OVERHEAD_BYTES = 256

_ZSTD_LEVEL = 3  # what the client compresses with


# Keys are studies: their instances follow one another.
@lru_cache(maxsize=4096)
def partition_for_key(key: bytes, partitions: int) -> int:
    """The partition on which Kafka's default partitioner puts `key` (murmur2)."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


class KafkaPublisher:
    """`infra.seams.Publisher` on two idempotent producers: payload as asked, events as zstd.

    `payload_compression` "none" sends payload as it is, else it is Kafka's name of a codec.
    `linger_ms`: how long a record waits for others of its partition.
    Both are made at first use and while no broker can be reached; one that the client gave up
    is replaced for later records. Safe from any thread.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        origin: Origin,
        clock: Clock,
        *,
        payload_compression: str = "none",
        linger_ms: int = LINGER_MS,
    ) -> None:
        self._prefix = kafka.topic_prefix
        self._origin = origin
        self._clock = clock
        self._payload = _Lane(kafka, payload_compression, PAYLOAD_BATCH_BYTES, linger_ms)
        self._zstd = _Lane(kafka, "zstd", EVENT_BATCH_BYTES, linger_ms)
        self._schemas = SchemaTeller(self._publish_schema)

    def publish(self, record: OutgoingRecord) -> PendingPublication:
        """Queues a record. Blocks for at most METADATA_WAIT_MS while its topic is unknown.

        Before the first record of an event whose schema older readers may lack, the schema is
        told, and its acknowledgement waited for.

        Raises PoisonError (larger than its topic allows), RetryableError, FatalError.
        """
        topic = topics.BY_NAME.get(record.topic.removesuffix(".dlq"))
        _check_size(record, topic)
        if topic is not None and record.topic == topic.name:
            self._schemas.tell(topic.event_type)
        lane = self._payload if topic and topic.compression != "zstd" else self._zstd
        return lane.send(self._prefix + record.topic, record)

    def publish_event(self, event: Event, key: bytes, event_id: str) -> PendingPublication:
        """`publish` of an event on its own topic, encoded, with CloudEvents headers."""
        headers = event_headers(type(event), event_id, self._origin, self._clock.now())
        name = topics.BY_EVENT[type(event)].name
        return self.publish(OutgoingRecord(name, key, codec.encode(event), headers))

    def _publish_schema(self, told: SchemaPublished) -> None:
        key = str(told.schema_id)
        self.publish_event(told, key.encode(), f"schema-{key}").result(SCHEMA_WAIT_S)

    def publish_all(self, records: Sequence[OutgoingRecord], timeout_s: float) -> None:
        """On return every record is acknowledged. Raises like `publish` and `result`."""
        deadline = self._clock.monotonic() + timeout_s
        for pending in [self.publish(record) for record in records]:
            pending.result(max(0.0, deadline - self._clock.monotonic()))

    def close(self) -> None:
        """Gives up what is not acknowledged; waits 5 s at most."""
        deadline = self._clock.monotonic() + CLOSE_TIMEOUT_S
        for lane in (self._payload, self._zstd):
            lane.close(max(0.0, deadline - self._clock.monotonic()))


class _Lane:
    """One producer configuration and the producer that serves it now."""

    def __init__(
        self, kafka: KafkaSettings, compression: str, batch_bytes: int, linger_ms: int
    ) -> None:
        self._options = {
            **producer_options(kafka),
            "compression_type": None if compression == "none" else compression,
            "batch_size": batch_bytes,
            "linger_ms": linger_ms,
            "max_request_size": topics.EVENT_REQUEST_BYTES_MAX,
            "max_block_ms": METADATA_WAIT_MS,
        }
        self._lock = threading.Lock()
        self._producer: Any = None
        self._is_closed = False

    def send(self, topic: str, record: OutgoingRecord) -> PendingPublication:
        doing = f"publishing to {topic}"
        with translated(doing):
            producer = self._current(doing)
            try:
                partition = _partition(record, producer.partitions_for(topic))
                future = producer.send(
                    topic,
                    key=record.key,
                    value=b"" if record.key is None and record.value is None else record.value,
                    headers=list(record.headers),
                    partition=partition,
                )
            except KafkaError as cause:
                self.retire_after(producer, cause)
                raise
            except ValueError as cause:  # the topic went out of the metadata since the line above
                raise RetryableError(f"{doing}: {cause}") from cause
        return _Pending(self, producer, future, record.topic)

    def retire_after(self, producer: Any, cause: KafkaError, is_expired: bool = False) -> None:
        """Replaces the producer if `cause` is the end of it; its futures stay failed.

        So is a record that expired after an attempt: what the client had drained beside it is
        neither sent nor failed from then on, for ever (3.0.12; tests/faults/cluster).
        """
        if not (is_expired or ends_the_producer(cause)):
            return
        with self._lock:
            if self._producer is not producer:
                return
            self._producer = None
        threading.Thread(target=_end, args=(producer, 0.0), name="retire", daemon=True).start()

    def close(self, timeout_s: float) -> None:
        with self._lock:
            producer, self._producer = self._producer, None
            self._is_closed = True
        if producer is not None:
            _end(producer, timeout_s)

    def _current(self, doing: str) -> Any:
        with self._lock:
            if self._is_closed:
                raise RetryableError(f"{doing}: the publisher is closed")
            if self._producer is None:
                self._producer = KafkaProducer(**self._options)
            return self._producer


class _Pending:
    """`infra.seams.PendingPublication` on the client's future."""

    __slots__ = ("_future", "_lane", "_producer", "_topic")

    def __init__(self, lane: _Lane, producer: Any, future: Any, topic: str) -> None:
        self._lane = lane
        self._producer = producer
        self._future = future
        self._topic = topic

    def done(self) -> bool:
        return bool(self._future.is_done)

    def result(self, timeout_s: float) -> PublishedAt:
        doing = f"publishing to {self._topic}"
        try:
            metadata = self._future.get(timeout_s)
        except KafkaError as cause:
            # Done: the record's own time is over, and not only the caller's patience.
            is_expired = self._future.is_done and isinstance(cause, KafkaTimeoutError)
            self._lane.retire_after(self._producer, cause, is_expired)
            raise translate(cause, doing) from cause
        if metadata.offset < 0:
            # A repeat that the broker knows but whose offset it forgot (DUPLICATE_SEQUENCE) counts
            # as success in the client. It is in the log, but nobody could name it.
            raise RetryableError(f"{doing}: acknowledged without an offset")
        return PublishedAt(self._topic, int(metadata.partition), int(metadata.offset))


def _partition(record: OutgoingRecord, partitions: set[int]) -> int:
    if record.partition is None:
        return sorted(partitions)[partition_for_key(record.key or b"", len(partitions))]
    if record.partition not in partitions:
        raise FatalError(
            f"publishing to {record.topic}: it has no partition {record.partition}",
            "run `hilum up`, which checks the partitions of every topic",
        )
    return record.partition


def _check_size(record: OutgoingRecord, topic: topics.Topic | None) -> None:
    """Refuses what the broker would refuse, because a refusal there ends the whole producer.

    (kafka-python 3.0.12: MESSAGE_TOO_LARGE makes an idempotent producer fail everything else that
    it holds with the same error, and innocent records would be taken for the large one.)
    """
    if topic is None:
        return
    limit_bytes = topic.message_bytes_max
    if record.topic == topic.dlq_name:
        limit_bytes += topics.DLQ_HEADERS_BYTES_MAX
    beside = sum([len(name.encode()) + len(value) for name, value in record.headers])
    beside += len(record.key or b"") + RECORD_OVERHEAD_BYTES
    value = record.value or b""
    plain_bytes = beside + len(value)
    if plain_bytes <= limit_bytes:
        return
    size_bytes = plain_bytes
    if topic.compression == "zstd" and plain_bytes <= topics.EVENT_REQUEST_BYTES_MAX:
        size_bytes = beside + len(zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(value))
    if size_bytes > limit_bytes:
        detail = f"{size_bytes} bytes for {record.topic}, which takes {limit_bytes}"
        raise PoisonError(Reason.OVERSIZE, detail)


def _end(producer: Any, timeout_s: float) -> None:
    """Stops a producer and its thread, waiting for its records up to the time-out."""
    try:
        producer.close(timeout=timeout_s)
    except KafkaTimeoutError:
        # `close` leaves out of its flush and then never stops the thread (3.0.12); there is no
        # public way to do what it does next.
        producer._sender.force_close()
        producer._sender.join(CLOSE_TIMEOUT_S)
