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
# A poll is a fetch of its own, some 2 ms of CPU here and at the broker. While records trickle in
# (fewer than one in FEW of what was asked for) one poll takes what came in a tenth of the batch's
# age instead of each record by itself.
FEW = 8
BREATH_SHARE, BREATH_MS_MAX = 10, 250
# Records that are no further apart than a quarter of the silence since belong to what has ended.
QUIET_APARTS = 4


@dataclass(slots=True)
class Batch:
    """Records in the order they were handed out, the refused ones among them."""

    raw: list[ConsumedRecord] = field(default_factory=list)
    records: list[Record[Any]] = field(default_factory=list)
    undecodable: list[DeadLetter] = field(default_factory=list)
    size_bytes: int = 0
    encoded_bytes: int = 0
    first_at: float = 0.0
    last_at: float = 0.0

    def came(self, at: float, records: int) -> None:
        """So many records were handed out at that (monotonic) time."""
        if not self.raw:
            self.first_at = self.last_at = at
        elif records:
            self.last_at = at

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
        left_ms = float(IDLE_POLL_MS)
        while not stop.is_set():
            asked = min(self._limits.records_max - len(batch.raw), self._poll_records_max)
            polled = self._poll(int(min(max(left_ms, POLL_MS_MIN), IDLE_POLL_MS)), asked)
            if self._consumer.take_interruption() or not (polled or batch.raw):
                return False
            batch.came(self._clock.monotonic(), len(polled))
            self._adapt(polled)
            beyond = self._take(batch, polled)
            self._consumer.seek(_first_offsets(beyond))
            has_few = len(polled) * FEW < asked
            left_ms = self._left_ms(batch)
            if beyond or left_ms <= 0 or self._is_full(batch, has_few):
                return True
            if polled and has_few:
                self._clock.wait(stop, min(breath_ms(self._limits), left_ms) / 1000)
        return False

    def _left_ms(self, batch: Batch) -> float:
        """How long the batch may wait on, as the records came so far."""
        limits, now = self._limits, self._clock.monotonic()
        left_ms = limits.age_ms_max - (now - batch.first_at) * 1000
        if limits.quiet_ms is None or len(batch.raw) < 2:
            return left_ms  # of one alone nobody can tell whether others follow
        apart_ms = (batch.last_at - batch.first_at) * 1000 / (len(batch.raw) - 1)
        silent_ms = (now - batch.last_at) * 1000
        return min(left_ms, max(limits.quiet_ms, QUIET_APARTS * apart_ms) - silent_ms)

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

    def _is_full(self, batch: Batch, has_few: bool) -> bool:
        """`has_few`: what the log has now is in the batch, as far as one poll tells."""
        limits = self._limits
        enough_bytes = limits.bytes_max
        if has_few and limits.ripe_bytes is not None:
            enough_bytes = min(enough_bytes, limits.ripe_bytes)
        return (
            len(batch.raw) >= limits.records_max
            or batch.size_bytes >= enough_bytes
            or batch.encoded_bytes >= ENCODED_BYTES_MAX
        )


def breath_ms(limits: BatchLimits) -> float:
    """How long records that trickle in are left to gather in the log; never past a silence."""
    breath = min(limits.age_ms_max / BREATH_SHARE, BREATH_MS_MAX)
    return breath if limits.quiet_ms is None else min(breath, limits.quiet_ms / 2)


def _encoded_bytes(raw: ConsumedRecord) -> int:
    return len(raw.key or b"") + len(raw.value or b"")


def _first_offsets(records: Sequence[ConsumedRecord]) -> dict[Partition, int]:
    first: dict[Partition, int] = {}
    for record in records:
        first.setdefault(Partition(record.topic, record.partition), record.offset)
    return first
