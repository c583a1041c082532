"""The bytes of a delivery, fetched out of the payload topic by the offsets its event names.

Invariant: what it yields are the chunks of that delivery, in order and complete, or it raises; the
caller compares the sha256. It has no group and commits nothing. Memory is bounded: the
look-ahead, one fetch, and one partition's fetch parked for each partition left in the middle.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import LogTruncationError, OffsetOutOfRangeError

from contracts import codec, topics
from contracts.events import InstanceReceived, PayloadChunk
from contracts.failures import PoisonError, RetryableError
from infra.broker_client import CLOSE_TIMEOUT_S, MIB, consumer_options, restore_parked
from infra.broker_errors import translated
from infra.schema_topic import SchemaLookup
from infra.seams import PayloadGoneError
from infra.settings import KafkaSettings
from infra.topic_tail import gone_offsets

# Deliveries of several gateways are interleaved on a partition: what is read on the way to a
# chunk is kept for the next deliveries instead of being fetched again.
LOOK_AHEAD_BYTES_MAX = 48 * MIB
NOWHERE = -1  # the position of a partition that was never read
# Further ahead than this a seek is cheaper than reading on.
LOOK_AHEAD_RECORDS_MAX = 64
FETCH_BYTES_MAX = 16 * MIB
PARTITION_FETCH_BYTES_MAX = 4 * MIB
POLL_RECORDS_MAX = 16
READ_TIMEOUT_S = 30.0
# After so long without a record the end of the log is asked for: is the offset there at all?
SILENCE_S = 1.0
OFFSETS_TIMEOUT_MS = 5_000


class KafkaPayloadReader:
    """`infra.seams.PayloadReader` on one assigned consumer, reading forward in each partition.

    Fastest when events are opened in the order of their partition and offsets. Connects at first
    use; safe from any thread, one chunk at a time.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._topic = kafka.topic_prefix + topics.PAYLOAD.name
        self._lock = threading.Lock()
        self._schemas = SchemaLookup(kafka)
        self._consumer: Any = None
        self._positions: dict[int, int] = {}
        self._ahead: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._ahead_bytes = 0

    def open(self, event: InstanceReceived) -> Iterator[bytes]:
        """The data set's bytes in order, chunk by chunk. See `infra.seams.PayloadReader`."""
        partition, offsets = event.payload_partition, event.payload_offsets
        if event.size_bytes == 0 and not offsets:
            return iter(())  # a C-STORE without a data set is archived too
        if partition is None or partition >= topics.PAYLOAD.partitions or not offsets:
            raise PayloadGoneError(f"delivery {event.delivery_id} names no payload of this topic")
        return self._chunks(event.delivery_id, partition, offsets)

    def close(self) -> None:
        """Releases the connections and the look-ahead."""
        with self._lock:
            if self._consumer is not None:
                self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_S * 1000)
            self._consumer = None
            self._ahead.clear()
            self._ahead_bytes = 0

    def _chunks(
        self, delivery_id: str, partition: int, offsets: tuple[int, ...]
    ) -> Iterator[bytes]:
        for index, offset in enumerate(offsets):
            where = f"{delivery_id} chunk {index} at {partition}@{offset}"
            with self._lock:
                value = self._record(partition, offset, where)
            self._schemas.learn_for((value,))
            try:
                chunk = codec.decode(value, PayloadChunk)
            except PoisonError as cause:
                raise PayloadGoneError(f"{where}: another record is there") from cause
            found = (chunk.delivery_id, chunk.chunk_index, chunk.chunk_count)
            if found != (delivery_id, index, len(offsets)):
                raise PayloadGoneError(f"{where}: another chunk is there")
            yield chunk.bytes

    def _record(self, partition: int, offset: int, where: str) -> bytes:
        """The value at an offset, out of the look-ahead or the topic."""
        deadline = time.monotonic() + READ_TIMEOUT_S
        tracked = TopicPartition(self._topic, partition)
        consumer = self._connected(tracked)
        if (partition, offset) not in self._ahead:
            self._go_to(consumer, tracked, offset)
        while (partition, offset) not in self._ahead:
            if self._positions[partition] > offset:
                raise PayloadGoneError(f"{where}: no record there")
            if self._read_on(consumer, tracked, offset, where):
                continue
            self._require_inside(consumer, tracked, offset, where)
            if time.monotonic() > deadline:
                raise RetryableError(f"reading {where}: nothing came for {READ_TIMEOUT_S:.0f} s")
        value = self._ahead.pop((partition, offset))
        self._ahead_bytes -= len(value)
        return value

    def _connected(self, wanted: Any) -> Any:
        if self._consumer is None:
            with translated(f"reading {self._topic}"):
                self._consumer = KafkaConsumer(
                    **consumer_options(self._kafka),
                    # The sha256 over the whole data set is checked by the caller anyway.
                    check_crcs=False,
                    fetch_max_bytes=FETCH_BYTES_MAX,
                    max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
                    max_poll_records=POLL_RECORDS_MAX,
                )
            self._positions.clear()
        assigned = self._consumer.assignment()
        if wanted not in assigned:
            self._consumer.assign([*assigned, wanted])
            self._consumer.pause(wanted)
            self._positions[wanted.partition] = NOWHERE
        return self._consumer

    def _go_to(self, consumer: Any, wanted: Any, offset: int) -> None:
        """Makes `wanted` the only partition that is fetched, at or shortly before `offset`."""
        position = self._positions[wanted.partition]
        if position == NOWHERE or not position <= offset <= position + LOOK_AHEAD_RECORDS_MAX:
            self._seek(consumer, wanted, offset)
        others = [other for other in consumer.assignment() if other != wanted]
        consumer.pause(*others)
        consumer.resume(wanted)

    def _seek(self, consumer: Any, wanted: Any, offset: int) -> None:
        consumer.seek(wanted, offset)
        self._positions[wanted.partition] = offset

    def _read_on(self, consumer: Any, wanted: Any, offset: int, where: str) -> bool:
        """Takes what the next poll brings into the look-ahead; False when it brings nothing."""
        restore_parked(consumer)
        with translated(f"reading {where}"):
            try:
                polled = consumer.poll(timeout_ms=int(SILENCE_S * 1000))
            except (OffsetOutOfRangeError, LogTruncationError) as cause:
                is_about_it = wanted.partition in gone_offsets(cause)
                if is_about_it and self._positions[wanted.partition] == offset:
                    raise PayloadGoneError(f"{where}: out of the log's range") from cause
                # What went out of range is only where we were reading on from.
                self._seek(consumer, wanted, offset)
                return True
        for tracked, records in polled.items():
            for record in records:
                self._keep((tracked.partition, record.offset), record.value or b"")
            self._positions[tracked.partition] = records[-1].offset + 1
        return wanted in polled

    def _keep(self, place: tuple[int, int], value: bytes) -> None:
        self._ahead_bytes += len(value) - len(self._ahead.pop(place, b""))
        self._ahead[place] = value
        while self._ahead_bytes > LOOK_AHEAD_BYTES_MAX:
            self._ahead_bytes -= len(self._ahead.popitem(last=False)[1])

    def _require_inside(self, consumer: Any, wanted: Any, offset: int, where: str) -> None:
        with translated(f"reading {where}"):
            end = consumer.end_offsets([wanted], OFFSETS_TIMEOUT_MS)[wanted]
        if offset >= end:
            raise PayloadGoneError(f"{where}: beyond the log's end {end}")
