"""Noticing a partition that has records and is not read, and doing something about it.

Invariant: only time spent asking for records counts; a long write or a back-off is no idleness. A
member that its group's coordinator really waits with is left alone: it would only start the
rebalance anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.group_consumer import GroupConsumer
from infra.partitions import Partition, Span
from infra.telemetry import Metrics, logger

IDLE_S_MAX = 30.0
_log = logger("idle-watch")


@dataclass(frozen=True, slots=True)
class Idle:
    """The stillest partition with records ahead (None: there is none) and since when."""

    partition: Partition | None
    seconds: float


@dataclass(frozen=True, slots=True)
class _Seen:
    position: int
    polling_s: float


class IdlePartitions:
    """The last movement of each partition, against the time its consumer spent polling."""

    def __init__(self) -> None:
        self._seen: dict[Partition, _Seen] = {}

    def look(self, spans: Mapping[Partition, Span], polling_s: float) -> Idle:
        """Which partition with records ahead has not moved for the longest, in seconds of polling.

        `polling_s` is what the consumer spent polling so far.
        """
        self._seen = {
            partition: self._seen_now(partition, span, polling_s)
            for partition, span in spans.items()
        }
        if not self._seen:
            return Idle(None, 0.0)
        partition, seen = min(self._seen.items(), key=lambda each: each[1].polling_s)
        seconds = polling_s - seen.polling_s
        return Idle(partition if seconds > 0 else None, seconds)

    def _seen_now(self, partition: Partition, span: Span, polling_s: float) -> _Seen:
        before = self._seen.get(partition)
        if before is None or before.position != span.position or span.position >= span.end:
            return _Seen(span.position, polling_s)
        return before


class IdleWatch:
    """Tells lag and idleness of one member, and gives it a new connection where it is stuck.

    Kafka's client keeps a request to join for as long as the longest batch may take (an hour for
    packs), also to a coordinator that hangs and that the cluster has long replaced.
    """

    def __init__(self, consumer: GroupConsumer, metrics: Metrics) -> None:
        self._consumer = consumer
        self._metrics = metrics
        self._partitions = IdlePartitions()
        self._joined_at_s = 0.0

    def look(self, polling_s: float) -> str:
        """What is wrong, '' if nothing is. Raises RetryableError, FatalError."""
        spans = self._consumer.spans()
        if self._consumer.has_joined:
            self._joined_at_s = polling_s
            for topic, records in self._consumer.uncommitted(spans).items():
                self._metrics.gauge("hilum_consumer_lag_records", records, topic=topic)
        idle = self._partitions.look(spans, polling_s)
        waiting_s = polling_s - self._joined_at_s
        self._metrics.gauge("hilum_consumer_idle_seconds", max(idle.seconds, waiting_s))
        if idle.partition is not None and idle.seconds > IDLE_S_MAX:
            place = f"{idle.partition.topic}/{idle.partition.number}"
            return self._join_again(f"{place} has records and is not read", idle.seconds, polling_s)
        if waiting_s <= IDLE_S_MAX:
            return ""
        if self._consumer.is_rebalancing():
            return f"waiting for the other members of the group for {waiting_s:.0f} s"
        return self._join_again("the group gives no share", waiting_s, polling_s)

    def _join_again(self, what: str, seconds: float, polling_s: float) -> str:
        reason = f"{what} for {seconds:.0f} s: joining again"
        _log.warning(reason)
        self._metrics.count("hilum_consumer_rejoined_total")
        self._partitions = IdlePartitions()
        self._joined_at_s = polling_s
        self._consumer.close()
        return reason
