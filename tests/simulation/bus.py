"""Kafka as the simulation has it: logs with offsets and ids, and records on their way to them.

Invariant: an acknowledged record is at its offset until its topic loses it; records of one
publisher reach a partition in their order or not at all, as an idempotent producer's do. The
shared suite in `test_bus_double` holds it to what the real broker does.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from contracts import codec, topics
from contracts.envelope import Origin, event_headers
from contracts.events import Event
from contracts.failures import PoisonError, Reason, RetryableError
from infra.broker import partition_for_key
from infra.partitions import Partition
from infra.seams import ConsumedRecord, OutgoingRecord, PublishedAt
from tests.simulation.clock import SimulatedClock

DLQ_PARTITIONS = 1


@dataclass
class Log:
    """One partition: `records[0]` has the offset `start`."""

    start: int = 0
    records: list[ConsumedRecord] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.records)

    def at(self, offset: int) -> ConsumedRecord | None:
        """The record at an offset that is there."""
        return self.records[offset - self.start] if self.start <= offset < self.end else None


class SimulatedPending:
    """`PendingPublication`: in flight, in the log without an acknowledgement, done, or failed."""

    def __init__(self, bus: SimulatedBus, record: OutgoingRecord) -> None:
        self._bus = bus
        self.record = record
        self.place: PublishedAt | None = None
        self.is_acknowledged = False
        self.failure: RetryableError | None = None

    def done(self) -> bool:
        return self.is_acknowledged or self.failure is not None

    def result(self, timeout_s: float) -> PublishedAt:
        if not self.done() and timeout_s > 0:
            self._bus.work_until(self, timeout_s)
        if self.failure is not None:
            raise RetryableError(str(self.failure))
        if not self.is_acknowledged or self.place is None:
            raise RetryableError(f"publishing to {self.record.topic}: not acknowledged in time")
        return self.place


class SimulatedBus:
    """One cluster. Until `down_until` nobody is reached, until `held_until` nothing is told.

    Both are times, not states, so that whoever waits for an end of it meets one.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.down_until = 0.0
        self.held_until = 0.0
        # Larger events are refused, as by a broker whose topic takes less.
        self.event_bytes_max = topics.EVENT_REQUEST_BYTES_MAX
        self.logs: dict[Partition, Log] = defaultdict(Log)
        self.in_flight: deque[SimulatedPending] = deque()
        self.published: list[OutgoingRecord] = []
        self._cluster = 1
        self._topic_generation = 1

    # -- what it is

    @property
    def is_down(self) -> bool:
        return self.clock.monotonic() < self.down_until

    @property
    def holds_back(self) -> bool:
        return self.clock.monotonic() < self.held_until

    def cluster_id(self) -> str:
        return f"cluster-{self._cluster}"

    def topic_id(self, topic: str) -> str:
        return f"{topic}#{self._cluster}.{self._topic_generation}"

    def require_up(self, doing: str) -> None:
        """Raises RetryableError while nobody is reached."""
        if self.is_down:
            raise RetryableError(f"{doing}: the broker is not reached")

    def log(self, topic: str, partition: int) -> Log:
        return self.logs[Partition(topic, partition)]

    def events(self, event_type: type[Event]) -> list[ConsumedRecord]:
        """The records of an event's topic that are there, in the order of each partition."""
        name = topics.BY_EVENT[event_type].name
        found = sorted((p, log) for p, log in self.logs.items() if p.topic == name)
        return [record for _, log in found for record in log.records]

    # -- what it takes

    def take(self, record: OutgoingRecord) -> SimulatedPending:
        pending = SimulatedPending(self, record)
        self.in_flight.append(pending)
        return pending

    def work(self, records_max: int = 1_000_000) -> int:
        """Appends and acknowledges the next records in flight; how many."""
        if self.is_down or self.holds_back:
            return 0
        count = min(records_max, len(self.in_flight))
        for _ in range(count):
            pending = self.in_flight.popleft()
            self._append(pending)
            pending.is_acknowledged = True
        return count

    def append_without_telling(self, records_max: int) -> None:
        """Records reach the log, and their acknowledgements wait."""
        for pending in list(self.in_flight)[:records_max]:
            self._append(pending)

    def work_until(self, pending: SimulatedPending, timeout_s: float) -> None:
        """What a blocking wait for an acknowledgement sees."""
        if self.is_down or self.holds_back:
            self.clock.pass_time(timeout_s)
            return
        while not pending.done() and self.in_flight:
            self.work(1)

    def fail(self, appended: int) -> None:
        """The connection breaks: the first `appended` reached the log, none is acknowledged."""
        for pending in list(self.in_flight)[:appended]:
            self._append(pending)
        for pending in self.in_flight:
            pending.failure = RetryableError(f"publishing to {pending.record.topic}: broken off")
        self.in_flight.clear()

    def _append(self, pending: SimulatedPending) -> None:
        if pending.place is not None:
            return
        record = pending.record
        partition = self._partition(record)
        log = self.log(record.topic, partition)
        pending.place = PublishedAt(record.topic, partition, log.end)
        log.records.append(
            ConsumedRecord(
                record.topic,
                partition,
                log.end,
                self.clock.now(),
                record.key,
                record.value,
                record.headers,
            )
        )
        self.published.append(record)

    def _partition(self, record: OutgoingRecord) -> int:
        if record.partition is not None:
            return record.partition
        topic = topics.BY_NAME.get(record.topic)
        count = DLQ_PARTITIONS if topic is None else topic.partitions
        return partition_for_key(record.key or b"", count)

    # -- what it loses

    def lose_topics(self, new_cluster: bool) -> None:
        """All topic data is gone; the topics are made anew, maybe on another cluster."""
        self.fail(0)
        self.logs.clear()
        self._topic_generation += 1
        self._cluster += new_cluster

    def expire_payload(self) -> None:
        """Retention takes all payload that is there."""
        for partition, log in self.logs.items():
            if partition.topic == topics.PAYLOAD.name:
                log.start, log.records = log.end, []

    def rot_payload(self, log: Log, offset: int) -> bool:
        """One byte of a record is another; False where there is no such record."""
        record = log.at(offset)
        if record is None or not record.value:
            return False
        value = record.value[:-1] + bytes([record.value[-1] ^ 1])
        log.records[offset - log.start] = replace(record, value=value)
        return True


class SimulatedPublisher:
    """`infra.seams.Publisher` of one process."""

    def __init__(self, bus: SimulatedBus, origin: Origin) -> None:
        self._bus = bus
        self._origin = origin
        self._is_closed = False

    def publish(self, record: OutgoingRecord) -> SimulatedPending:
        self._bus.require_up(f"publishing to {record.topic}")
        if self._is_closed:
            raise RetryableError(f"publishing to {record.topic}: the publisher is closed")
        known = topics.BY_NAME.get(record.topic.removesuffix(".dlq"))
        if known is None:
            raise RetryableError(f"publishing to {record.topic}: there is no such topic")
        limit = min(known.message_bytes_max, self._bus.event_bytes_max)
        if known.name != topics.PAYLOAD.name and len(record.value or b"") > limit:
            raise PoisonError(Reason.OVERSIZE, f"{len(record.value or b'')} bytes")
        return self._bus.take(record)

    def publish_event(self, event: Event, key: bytes, event_id: str) -> SimulatedPending:
        now: datetime = self._bus.clock.now()
        headers = event_headers(type(event), event_id, self._origin, now)
        name = topics.BY_EVENT[type(event)].name
        return self.publish(OutgoingRecord(name, key, codec.encode(event), headers))

    def publish_all(self, records: Sequence[OutgoingRecord], timeout_s: float) -> None:
        for pending in [self.publish(record) for record in records]:
            pending.result(timeout_s)

    def close(self) -> None:
        self._is_closed = True
