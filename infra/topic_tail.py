"""Reading a topic without a consumer group: from a chosen offset on, or wholly once.

Invariant: it never commits and never moves over a gap in silence; an offset that is gone is an
OffsetGoneError. Must not be used where records have to be shared out between processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import LogTruncationError, OffsetOutOfRangeError

from contracts import topics
from contracts.failures import FatalError, RetryableError
from infra.broker_client import CLOSE_TIMEOUT_S, MIB, consumer_options
from infra.broker_errors import translated
from infra.schema_topic import SchemaLookup
from infra.seams import ConsumedRecord, OffsetGoneError
from infra.settings import KafkaSettings

FETCH_BYTES_MAX = 8 * MIB
PARTITION_FETCH_BYTES_MAX = 2 * MIB
POLL_RECORDS_MAX = 500
OFFSETS_TIMEOUT_MS = 10_000
# `read_all` gives up when the broker has answered nothing for this long.
STALLED_S_MAX = 30.0
_POLL_S = 0.5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TopicTail:
    """Some partitions of a topic (all, where `partitions` is None), read forward.

    `start` maps a partition to the first offset to read; what it does not name starts at the
    log's beginning. Connects at first use. Not safe from several threads.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        partitions: Sequence[int] | None = None,
        start: Mapping[int, int] | None = None,
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._wire_topic = kafka.topic_prefix + topic
        self._wanted = partitions_of(topic) if partitions is None else tuple(partitions)
        self._start = dict(start or {})
        self._consumer: Any = None
        self._assigned: dict[int, Any] = {}
        self._schemas = SchemaLookup(kafka)

    def poll(self, timeout_s: float) -> list[ConsumedRecord]:
        """The next records, in order by partition; empty when none came in time.

        An unreachable broker looks like silence. Raises
        OffsetGoneError (until the caller seeks), RetryableError, FatalError.
        """
        consumer = self._connected()
        with translated(f"reading {self._topic}"):
            try:
                polled = consumer.poll(timeout_ms=int(timeout_s * 1000))
            except (OffsetOutOfRangeError, LogTruncationError) as cause:
                raise OffsetGoneError(self._topic, gone_offsets(cause)) from cause
        records = [consumed(raw, self._topic) for rows in polled.values() for raw in rows]
        if self._topic != topics.SCHEMA.name:
            self._schemas.learn_for(record.value for record in records)
        return records

    def position(self, partition: int) -> int:
        """The offset that is read next in `partition`."""
        with translated(f"asking for the position in {self._topic}"):
            offset = self._connected().position(self._assigned[partition], OFFSETS_TIMEOUT_MS)
        if offset is None:
            raise RetryableError(f"asking for the position in {self._topic}: no answer")
        return int(offset)

    def seek(self, partition: int, offset: int) -> None:
        """Goes on at `offset`."""
        self._connected().seek(self._assigned[partition], offset)

    def seek_to_beginning(self, partition: int) -> None:
        """Goes on at the oldest record that is there."""
        self._connected().seek_to_beginning(self._assigned[partition])

    def beginning_offsets(self) -> dict[int, int]:
        """The oldest offset of each partition. Raises RetryableError, FatalError."""
        consumer = self._connected()
        with translated(f"asking for the first offsets of {self._topic}"):
            found = consumer.beginning_offsets(list(self._assigned.values()), OFFSETS_TIMEOUT_MS)
        return self._by_partition(found)

    def end_offsets(self) -> dict[int, int]:
        """The offset after the last record of each partition. Raises RetryableError, FatalError."""
        consumer = self._connected()
        with translated(f"asking for the last offsets of {self._topic}"):
            found = consumer.end_offsets(list(self._assigned.values()), OFFSETS_TIMEOUT_MS)
        return self._by_partition(found)

    def read_until(self, ends: Mapping[int, int]) -> Iterator[list[ConsumedRecord]]:
        """Each poll's records until every partition stands at its end; gaps are no end.

        A record behind its end may be among the last ones. Raises as `poll` does, RetryableError
        also when nothing moves for STALLED_S_MAX.
        """
        positions = {number: self.position(number) for number in ends}
        moved_at = time.monotonic()
        while behind := [number for number, end in ends.items() if positions[number] < end]:
            yield self.poll(_POLL_S)
            now_at = {number: self.position(number) for number in behind}
            if any(at > positions[number] for number, at in now_at.items()):
                moved_at = time.monotonic()
            positions.update(now_at)
            if time.monotonic() - moved_at > STALLED_S_MAX:
                raise RetryableError(
                    f"reading {self._topic}: nothing came for {STALLED_S_MAX:.0f} s"
                )

    def close(self) -> None:
        """Releases the connections."""
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_S * 1000)
            self._consumer = None

    def _connected(self) -> Any:
        if self._consumer is None:
            with translated(f"reading {self._topic}"):
                self._consumer = KafkaConsumer(
                    **consumer_options(self._kafka),
                    fetch_max_bytes=FETCH_BYTES_MAX,
                    max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
                    max_poll_records=POLL_RECORDS_MAX,
                )
        if not self._assigned:
            self._assign()
        return self._consumer

    def _assign(self) -> None:
        assigned = {number: TopicPartition(self._wire_topic, number) for number in self._wanted}
        self._consumer.assign(list(assigned.values()))
        for number, partition in assigned.items():
            if number in self._start:
                self._consumer.seek(partition, self._start[number])
            else:
                self._consumer.seek_to_beginning(partition)
        self._assigned = assigned

    def _by_partition(self, found: Mapping[Any, int]) -> dict[int, int]:
        return {number: int(found[partition]) for number, partition in self._assigned.items()}


def read_all(
    kafka: KafkaSettings, topic: str, partitions: Sequence[int] | None = None
) -> Iterator[ConsumedRecord]:
    """Every record of a topic from its beginning to its end as of the first `next`.

    Gaps that compaction left are no end. Raises RetryableError when nothing moves for
    STALLED_S_MAX, FatalError.
    """
    tail = TopicTail(kafka, topic, partitions)
    try:
        ends = tail.end_offsets()
        for polled in tail.read_until(ends):
            yield from (record for record in polled if record.offset < ends[record.partition])
    finally:
        tail.close()


def partitions_of(topic: str) -> tuple[int, ...]:
    """The partitions of a topic by the topic table, which provisioning enforces.

    (Asking the client instead blocks for ever while no broker answers, 3.0.12.)
    """
    known = topics.BY_NAME.get(topic.removesuffix(".dlq"))
    if known is None:
        raise FatalError(f"reading {topic}: not in the topic table", "name its partitions")
    return tuple(range(topics.DLQ_PARTITIONS if topic == known.dlq_name else known.partitions))


def consumed(raw: Any, topic: str) -> ConsumedRecord:
    """A record of the client library as ours."""
    return ConsumedRecord(
        topic=topic,
        partition=raw.partition,
        offset=raw.offset,
        timestamp=_EPOCH + timedelta(milliseconds=max(0, raw.timestamp)),
        key=raw.key,
        value=raw.value,
        headers=tuple((name, value or b"") for name, value in raw.headers or ()),
    )


def gone_offsets(cause: OffsetOutOfRangeError | LogTruncationError) -> dict[int, int]:
    """The offsets by partition that an out-of-range or truncation error is about."""
    if isinstance(cause, OffsetOutOfRangeError):
        return {partition.partition: offset for partition, offset in cause.args[0].items()}
    # Where the broker cannot say how far its log agrees, everything we read is in doubt.
    return {
        partition.partition: getattr(known, "offset", 0) or 0
        for partition, known in cause.divergent_offsets.items()
    }
