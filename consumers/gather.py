"""Gathering records into a batch that is worth a write.

Invariant: a batch never exceeds its limits but by a single record that alone exceeds them, and
what is polled beyond them is sought back; what cannot be decoded stays in the batch as refused.
Without gathering every write would hold the one record that ended a wait.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from consumers.dead_letter import DeadLetter
from consumers.spec import BatchLimits, ConsumerSpec, Record, Rejection
from contracts.codec import decode
from contracts.failures import HilumError, PoisonError, Reason
from infra.clock import Clock
from infra.group_consumer import GroupConsumer
from infra.partitions import Partition
from infra.schema_topic import SchemaLookup
from infra.seams import ConsumedRecord

MIB = 1024 * 1024
# How long an empty poll may wait; also how soon a stop and the periodic work are noticed.
IDLE_POLL_MS = 250
# Below it a rebalance never finishes inside a poll (measured: 0 never, 100 always).
POLL_MS_MIN = 100
# Records beyond a batch are fetched again, so a poll asks for few, and for fewer where they are
# large: 500 events with the header of an enhanced CT would be 1.6 GB in one answer.
POLL_RECORDS_FIRST, POLL_RECORDS_MAX = 50, 500
POLL_BYTES_MAX = 16 * MIB
# The encoded records themselves, which a consumer's own `size_bytes` may not count at all.
ENCODED_BYTES_MAX = 64 * MIB


@dataclass(slots=True)
class Batch:
    """Records in the order they were handed out, the refused ones among them."""

    raw: list[ConsumedRecord] = field(default_factory=list)
    records: list[Record[Any]] = field(default_factory=list)
    undecodable: list[DeadLetter] = field(default_factory=list)
    size_bytes: int = 0
    encoded_bytes: int = 0

    def first_offsets(self) -> dict[Partition, int]:
        """Where to go back to so that the whole batch comes again."""
        return _first_offsets(self.raw)

    def next_offsets(self) -> dict[Partition, int]:
        """What to commit when every record is written or dead-lettered."""
        return {Partition(r.topic, r.partition): r.offset + 1 for r in self.raw}

    def dead_letters(self, rejections: Sequence[Rejection]) -> list[DeadLetter]:
        """What could not be decoded, and what the writer refused, each with its original."""
        originals = {(raw.topic, raw.partition, raw.offset): raw for raw in self.raw}
        refused = [
            DeadLetter(
                originals[(r.record.topic, r.record.partition, r.record.offset)], r.reason, r.detail
            )
            for r in rejections
        ]
        return [*self.undecodable, *refused]


class Gatherer:
    """Fills batches of one consumer from its group member."""

    def __init__(
        self,
        spec: ConsumerSpec,
        limits: BatchLimits,
        consumer: GroupConsumer,
        clock: Clock,
        schemas: SchemaLookup,
    ) -> None:
        self._types = {topic.name: event_type for topic, event_type in spec.inputs.items()}
        self._size_bytes = spec.size_bytes
        self._limits = limits
        self._consumer = consumer
        self._clock = clock
        self._schemas = schemas
        # Seconds spent in `gather`, for telling a partition that is stuck from one that waits.
        self.polling_s = 0.0
        self._poll_records_max = POLL_RECORDS_FIRST

    def gather(self, stop: threading.Event) -> Batch | None:
        """A batch that reached one of its limits; None when nothing came or `stop` was set.

        Also None when partitions were revoked meanwhile: what was in hand belongs to their new
        owner. Raises RetryableError, FatalError; what was in hand then comes again.
        """
        started = self._clock.monotonic()
        batch = Batch()
        try:
            return batch if self._fill(batch, stop) else None
        except HilumError:
            self._consumer.seek(batch.first_offsets())
            raise
        finally:
            self.polling_s += self._clock.monotonic() - started

    def _fill(self, batch: Batch, stop: threading.Event) -> bool:
        """Whether `batch` is complete; if not, it has to be dropped."""
        first_at = 0.0
        left_ms = IDLE_POLL_MS
        while not stop.is_set():
            room = self._limits.records_max - len(batch.raw)
            timeout_ms = min(max(left_ms, POLL_MS_MIN), IDLE_POLL_MS)
            polled = self._poll(timeout_ms, min(room, self._poll_records_max))
            if self._consumer.take_interruption() or not (polled or batch.raw):
                return False
            if not batch.raw:
                first_at = self._clock.monotonic()
            self._adapt(polled)
            beyond = self._take(batch, polled)
            self._consumer.seek(_first_offsets(beyond))
            age_ms = int((self._clock.monotonic() - first_at) * 1000)
            left_ms = self._limits.age_ms_max - age_ms
            if beyond or left_ms <= 0 or self._is_full(batch):
                return True
        return False

    def _poll(self, timeout_ms: int, records_max: int) -> list[ConsumedRecord]:
        polled = self._consumer.poll(timeout_ms, records_max)
        try:
            self._schemas.learn_for(record.value for record in polled)
        except HilumError:
            self._consumer.seek(_first_offsets(polled))
            raise
        return polled

    def _adapt(self, polled: Sequence[ConsumedRecord]) -> None:
        largest = max(map(_encoded_bytes, polled), default=0)
        if largest:
            self._poll_records_max = min(max(POLL_BYTES_MAX // largest, 1), POLL_RECORDS_MAX)

    def _take(self, batch: Batch, polled: Sequence[ConsumedRecord]) -> Sequence[ConsumedRecord]:
        """Adds what fits; gives back the rest."""
        for index, raw in enumerate(polled):
            event, refusal = self._decode(raw)
            size = self._size_bytes(event) if refusal is None else _encoded_bytes(raw)
            if batch.raw and self._would_exceed(batch, size, _encoded_bytes(raw)):
                return polled[index:]
            batch.raw.append(raw)
            batch.size_bytes += size
            batch.encoded_bytes += _encoded_bytes(raw)
            if refusal is None:
                batch.records.append(Record(event, raw.topic, raw.partition, raw.offset))
            else:
                batch.undecodable.append(refusal)
        return ()

    def _decode(self, raw: ConsumedRecord) -> tuple[Any, DeadLetter | None]:
        if raw.value is None:
            return None, DeadLetter(raw, Reason.NOT_CONFLUENT, "a record without a value")
        try:
            return decode(raw.value, self._types[raw.topic]), None
        except PoisonError as refused:
            return None, DeadLetter(raw, refused.reason, refused.detail)

    def _would_exceed(self, batch: Batch, size_bytes: int, encoded_bytes: int) -> bool:
        return (
            batch.size_bytes + size_bytes > self._limits.bytes_max
            or batch.encoded_bytes + encoded_bytes > ENCODED_BYTES_MAX
        )

    def _is_full(self, batch: Batch) -> bool:
        return (
            len(batch.raw) >= self._limits.records_max
            or batch.size_bytes >= self._limits.bytes_max
            or batch.encoded_bytes >= ENCODED_BYTES_MAX
        )


def _encoded_bytes(raw: ConsumedRecord) -> int:
    return len(raw.key or b"") + len(raw.value or b"")


def _first_offsets(records: Sequence[ConsumedRecord]) -> dict[Partition, int]:
    first: dict[Partition, int] = {}
    for record in records:
        first.setdefault(Partition(record.topic, record.partition), record.offset)
    return first
