"""A member of a consumer group that never moves by itself.

Invariant: the position of a partition is where we set it (the committed offset, or the log's
start at a group's first start and after a topic was made anew) and goes forward only by records
that were handed out; only explicit offsets are committed. Must not run anything in the library's
rebalance callbacks: they only note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from contracts.failures import RetryableError
from infra.broker_client import CLOSE_TIMEOUT_S, MIB, consumer_options, restore_parked
from infra.broker_errors import translated
from infra.cluster_view import ClusterView
from infra.group_membership import (
    LOST_MEMBERSHIP,
    AssignmentNotes,
    leave_when_closed,
    membership_options,
)
from infra.partitions import Partition, Span, require_history
from infra.seams import ConsumedRecord
from infra.settings import KafkaSettings
from infra.telemetry import logger
from infra.topic_ids import TopicIds
from infra.topic_tail import consumed, gone_offsets

# What the broker's answers may hold in memory, still compressed.
FETCH_BYTES_MAX = 16 * MIB
PARTITION_FETCH_BYTES_MAX = 1 * MIB
OFFSETS_TIMEOUT_MS = 5_000
# A broker answers a fetch within 0.5 s; one that hangs is to cost its partitions less than 30 s.
REQUEST_TIMEOUT_MS_MAX = 20_000
COMMIT_TIMEOUT_MS = 10_000

_log = logger("group-consumer")


class RebalancedError(Exception):
    """The group moved on without this commit: what is in hand will be delivered again."""


class GroupConsumer:
    """One member of `group` over `topics` (plain names). Connects at first use; one thread only.

    `member` is its name in the group, which no other process may have; None for none.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        topics: Sequence[str],
        poll_interval_ms_max: int,
        *,
        member: str | None = None,
    ) -> None:
        self._kafka = kafka
        self._group = kafka.topic_prefix + group
        self._topics = tuple(topics)
        self._membership = membership_options(self._group, member, poll_interval_ms_max)
        self._view = ClusterView(kafka)
        self._topic_ids = TopicIds(kafka, topics)
        self._committed: dict[Partition, int] = {}
        self._listener = AssignmentNotes()
        self._consumer: Any = None
        self._is_unresolved = False
        self._is_interrupted = False

    @property
    def has_joined(self) -> bool:
        """Whether the group has given this member its share (which may be empty)."""
        return self._listener.has_joined and not self._is_unresolved

    def poll(self, timeout_ms: int, records_max: int) -> list[ConsumedRecord]:
        """The next records of the partitions that are not paused.

        Also what keeps the membership: once at least every `poll_interval_ms_max`, with 100 ms or
        more so that a rebalance can finish. Raises RetryableError, FatalError (a topic is missing,
        or records between the committed offset and the log's start are gone).
        """
        consumer = self._connected()
        records: list[ConsumedRecord] = []
        divergent: dict[Partition, int] = {}
        restore_parked(consumer)
        with translated(f"reading as group {self._group}"):
            try:
                polled = consumer.poll(timeout_ms=timeout_ms, max_records=records_max)
                records = [
                    consumed(raw, self._plain(raw.topic))
                    for rows in polled.values()
                    for raw in rows
                ]
            except (kafka_errors.NoOffsetForPartitionError, kafka_errors.OffsetOutOfRangeError):
                self._is_unresolved = True
            except kafka_errors.LogTruncationError as cause:
                # An unclean election rolled back what we had read: go on where the logs agree.
                divergent = self._divergent(cause)
                self._is_unresolved = True
        if self._listener.take_change() or self._is_unresolved:
            self._is_interrupted = self._is_unresolved = True
            if self._listener.has_joined:
                self._resolve(divergent)
            return []  # positions are set anew; these records come again, to whom they belong
        return records

    def is_rebalancing(self) -> bool:
        """Whether the group's coordinator waits for members. Raises RetryableError, FatalError."""
        return self._view.is_rebalancing(self._group)

    def take_interruption(self) -> bool:
        """Whether partitions were revoked, or positions set anew, since the last call.

        What was handed out before and is not committed must then be dropped: it comes again.
        """
        interrupted, self._is_interrupted = self._is_interrupted, False
        return interrupted

    def pause(self) -> None:
        """Stops handing out records of every partition that is assigned now."""
        if self._consumer is not None:
            self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        """Hands out records of all assigned partitions again."""
        if self._consumer is not None:
            self._consumer.resume(*self._consumer.paused())

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Sets what is read next; partitions that are no longer assigned are left out."""
        assigned = set() if self._consumer is None else self._consumer.assignment()
        for partition, offset in offsets.items():
            if self._wire(partition) in assigned:
                self._consumer.seek(self._wire(partition), offset)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """On return the group will go on at these offsets.

        Partitions that are no longer assigned are left out. Raises RebalancedError,
        RetryableError, FatalError.
        """
        consumer = self._connected()
        assigned = consumer.assignment()
        mine = {p: offset for p, offset in offsets.items() if self._wire(p) in assigned}
        # The topic's id travels with the offset: an offset means nothing on a topic made anew.
        wire = {
            self._wire(p): OffsetAndMetadata(offset, self._topic_ids.of(p.topic), -1)
            for p, offset in mine.items()
        }
        with translated(f"committing as group {self._group}"):
            try:
                consumer.commit(wire, timeout_ms=COMMIT_TIMEOUT_MS)
            except LOST_MEMBERSHIP as cause:
                raise RebalancedError(f"committing as group {self._group}: {cause}") from cause
        self._committed.update(mine)

    def spans(self) -> dict[Partition, Span]:
        """Position and end of every assigned partition, asked for now. Raises RetryableError.

        Also notices a topic that was deleted (FatalError) or made anew (an interruption).
        """
        consumer = self._connected()
        if self._topic_ids.look_up():
            self._is_unresolved = True
        assigned = sorted(consumer.assignment())
        if not assigned or not self.has_joined:
            return {}
        with translated(f"asking for offsets as group {self._group}"):
            ends = consumer.end_offsets(assigned, OFFSETS_TIMEOUT_MS)
            positions = {tp: consumer.position(tp, OFFSETS_TIMEOUT_MS) for tp in assigned}
        return {
            self._partition(tp): Span(int(position), int(ends[tp]))
            for tp, position in positions.items()
            if position is not None
        }

    def uncommitted(self, spans: Mapping[Partition, Span]) -> dict[str, int]:
        """Records by topic from the committed offsets to the ends."""
        lag = dict.fromkeys(self._topics, 0)
        for partition, span in spans.items():
            lag[partition.topic] += max(0, span.end - self._committed.get(partition, span.position))
        return lag

    def close(self) -> None:
        """Leaves the group without committing. A later `poll` joins it again."""
        consumer, self._consumer = self._consumer, None
        self._topic_ids.close()
        self._view.close()
        if consumer is not None:
            leave_when_closed(consumer)
            self._is_interrupted = self._is_unresolved = True
            self._listener.has_joined = False
            with translated(f"leaving group {self._group}"):
                consumer.close(autocommit=False, timeout_ms=int(CLOSE_TIMEOUT_S * 1000))

    def _connected(self) -> Any:
        if self._consumer is None:
            self._topic_ids.look_up()
            with translated(f"joining group {self._group}"):
                options = consumer_options(self._kafka)
                answer_ms = min(self._kafka.request_timeout_ms, REQUEST_TIMEOUT_MS_MAX)
                consumer = KafkaConsumer(
                    **options | {"request_timeout_ms": answer_ms},
                    **self._membership,
                    fetch_max_bytes=FETCH_BYTES_MAX,
                    max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
                )
                names = [self._kafka.topic_prefix + topic for topic in self._topics]
                consumer.subscribe(topics=names, listener=self._listener)
            self._consumer = consumer
        return self._consumer

    def _resolve(self, divergent: Mapping[Partition, int]) -> None:
        """Sets every assigned partition's position; stays unresolved when it raises."""
        self._topic_ids.look_up()
        assigned = sorted(self._consumer.assignment())
        with translated(f"looking for the offsets of group {self._group}"):
            begins = self._consumer.beginning_offsets(assigned, OFFSETS_TIMEOUT_MS)
            ends = self._consumer.end_offsets(assigned, OFFSETS_TIMEOUT_MS)
            committed = {
                tp: self._consumer.committed(tp, metadata=True, timeout_ms=OFFSETS_TIMEOUT_MS)
                for tp in assigned
            }
        self._committed = {}
        first: dict[Partition, int] = {}
        for tp in assigned:
            partition = self._partition(tp)
            if self._is_first_start(partition, committed[tp]):
                first[partition] = int(begins[tp])
                continue
            offset = min(committed[tp].offset, divergent.get(partition, committed[tp].offset))
            require_history(self._group, partition, offset, range(begins[tp], ends[tp] + 1))
            self._committed[partition] = offset
        self.seek({**self._committed, **first})
        self._is_unresolved = False
        if first:
            self._commit_first(first)

    def _is_first_start(self, partition: Partition, committed: Any) -> bool:
        if committed is None:
            return True
        known = committed.metadata
        is_anew = bool(known) and known != self._topic_ids.of(partition.topic)
        if is_anew:
            _log.warning("topic made anew", topic=partition.topic, partition=partition.number)
        return is_anew

    def _commit_first(self, first: Mapping[Partition, int]) -> None:
        try:
            self.commit(first)
        except RebalancedError as cause:
            self._is_unresolved = True
            raise RetryableError(str(cause)) from cause
        except RetryableError:
            self._is_unresolved = True
            raise

    def _divergent(self, cause: Any) -> dict[Partition, int]:
        topics = {self._plain(tp.topic) for tp in cause.divergent_offsets}
        found = {
            Partition(self._plain(tp.topic), tp.partition): offset
            for tp, offset in zip(
                cause.divergent_offsets, gone_offsets(cause).values(), strict=True
            )
        }
        _log.warning("log truncated", topics=sorted(topics))
        return found

    def _wire(self, partition: Partition) -> TopicPartition:
        return TopicPartition(self._kafka.topic_prefix + partition.topic, partition.number)

    def _partition(self, tp: TopicPartition) -> Partition:
        return Partition(self._plain(tp.topic), tp.partition)

    def _plain(self, wire_topic: str) -> str:
        return wire_topic.removeprefix(self._kafka.topic_prefix)
