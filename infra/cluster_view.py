"""What Kafka says of itself: cluster and topic ids, partitions, and how far a group is behind.

Invariant: reads only. A cluster or topic id other than the one a record was published to means
that the record is gone (KIP-516); must not be used to decide anything by offsets alone.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import GroupIdNotFoundError

from contracts.failures import FatalError, RetryableError
from infra.broker_client import connection_options
from infra.broker_errors import translated
from infra.settings import KafkaSettings
from infra.topic_tail import TopicTail

REACH_TIMEOUT_S = 3.0
BOOTSTRAP_TIMEOUT_MS, BOOTSTRAP_TIMEOUT_MS_MIN = 10_000, 5_000
REQUEST_TIMEOUT_MS = 10_000
# How long the age of uncommitted records is looked for; without an answer it is reported as None.
AGE_TIMEOUT_S = 5.0
_POLL_S = 0.25
_REBALANCING = ("PreparingRebalance", "CompletingRebalance")
_IN_SYNC_MIN = "min.insync.replicas"
_OFFSETS_KEPT = "offsets.retention.minutes"


@dataclass(frozen=True, slots=True)
class TopicLag:
    """How far a group is behind on one topic. `seconds` is None while nobody could say."""

    records: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class TopicCopies:
    """Replicas of the partition that has the fewest, and `min.insync.replicas`."""

    replicas: int
    in_sync_min: int


class ClusterView:
    """Questions to a cluster. Connects at first use and again after a failure; thread-safe.

    Every method raises RetryableError (unreachable) and FatalError (credentials, rights).
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._lock = threading.Lock()
        self._admin: Any = None

    def cluster_id(self) -> str:
        """The id that the cluster got when it was formatted."""
        with self._asking("asking for the cluster id") as admin:
            return str(admin.describe_cluster()["cluster_id"])

    def topic_id(self, topic: str) -> str | None:
        """The id of a topic (KIP-516), None where there is none. A recreated topic has another."""
        found = self._describe([topic])[topic]
        return None if found is None else str(found["topic_id"])

    def partitions(self, topic: str) -> int | None:
        """How many partitions a topic has, None where there is no such topic."""
        found = self._describe([topic])[topic]
        return None if found is None else len(found["partitions"])

    def copies(self, topic: str) -> TopicCopies:
        """How many copies a topic keeps, and how many acknowledge. No such topic: none."""
        found = self._describe([topic])[topic]
        if found is None:
            return TopicCopies(0, 0)
        wire_topic = self._kafka.topic_prefix + topic
        asked = ConfigResource(ConfigResourceType.TOPIC, wire_topic, [_IN_SYNC_MIN])
        with self._asking(f"asking for the settings of {topic}") as admin:
            answer = admin.describe_configs([asked], config_filter="all")["topic"]
        replicas = min(len(row["replica_nodes"]) for row in found["partitions"])
        return TopicCopies(replicas, int(answer[wire_topic][_IN_SYNC_MIN]["value"]))

    def offsets_kept_minutes(self) -> int:
        """How long the commits of a group without members are kept, by the broker that has least.

        Raises FatalError also where the cluster lets nobody read its brokers' settings.
        """
        with self._asking("asking for the brokers' settings") as admin:
            brokers = [
                str(broker["broker_id"])
                for broker in admin.describe_cluster()["brokers"]
                if not broker.get("is_fenced")
            ]
            asked = [ConfigResource(ConfigResourceType.BROKER, b, [_OFFSETS_KEPT]) for b in brokers]
            answer = admin.describe_configs(asked, config_filter="all")["broker"]
        return min(int(answer[broker][_OFFSETS_KEPT]["value"]) for broker in brokers)

    def group_lag(self, group: str, topics: Sequence[str]) -> dict[str, TopicLag]:
        """Records that a group has not committed, and the age of the oldest of them, by topic.

        A partition without a commit counts from its beginning. Topics that do not exist are left
        out.
        """
        existing = [name for name, found in self._describe(topics).items() if found is not None]
        committed = self._committed(group)
        return {topic: self._topic_lag(topic, committed) for topic in existing}

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """The offsets that a group has committed, by partition of one topic."""
        wire_topic = self._kafka.topic_prefix + topic
        return {
            number: offset
            for (name, number), offset in self._committed(group).items()
            if name == wire_topic
        }

    def is_rebalancing(self, wire_group: str) -> bool:
        """Whether a group (its name with the prefix) waits for members to join or to be told."""
        with self._asking(f"asking for the state of group {wire_group}") as admin:
            try:
                found = admin.describe_groups([wire_group])[wire_group]
            except GroupIdNotFoundError:
                return False
        return str(found["group_state"]) in _REBALANCING

    def wait_until_reachable(self, deadline_s: float) -> None:
        """Returns once a broker answers. Raises RetryableError when none did in time."""
        until = time.monotonic() + deadline_s
        while True:
            try:
                self.cluster_id()
                return
            except RetryableError:
                if time.monotonic() > until:
                    raise
                time.sleep(_POLL_S)

    def close(self) -> None:
        """Releases the connections."""
        with self._lock:
            admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()

    def _topic_lag(self, topic: str, committed: Mapping[tuple[str, int], int]) -> TopicLag:
        begins, ends = self._bounds(topic)
        wire_topic = self._kafka.topic_prefix + topic
        starts = {
            number: max(begin, committed.get((wire_topic, number), 0))
            for number, begin in begins.items()
        }
        behind = {number: at for number, at in starts.items() if at < ends[number]}
        records = sum(ends[number] - at for number, at in behind.items())
        return TopicLag(records, self._age(topic, behind) if behind else 0.0)

    def _bounds(self, topic: str) -> tuple[dict[int, int], dict[int, int]]:
        found = self._describe([topic])[topic] or {"partitions": []}
        places = [
            TopicPartition(self._kafka.topic_prefix + topic, row["partition_index"])
            for row in found["partitions"]
        ]
        bounds = []
        with self._asking(f"asking for the offsets of {topic}") as admin:
            for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST):
                answer = admin.list_partition_offsets(dict.fromkeys(places, spec))
                bounds.append({place.partition: int(at.offset) for place, at in answer.items()})
        return bounds[0], bounds[1]

    def _committed(self, group: str) -> dict[tuple[str, int], int]:
        wire_group = self._kafka.topic_prefix + group
        with self._asking(f"asking for the commits of {group}") as admin:
            answer = admin.list_group_offsets({wire_group: None})[wire_group]
        return {
            (place.topic, place.partition): int(at.offset)
            for place, at in answer.items()
            if at.offset >= 0
        }

    def _age(self, topic: str, behind: Mapping[int, int]) -> float | None:
        """Age of the oldest record at one of the offsets, by the broker's own timestamps."""
        tail = TopicTail(self._kafka, topic, sorted(behind), behind)
        until = time.monotonic() + AGE_TIMEOUT_S
        oldest: dict[int, datetime] = {}
        try:
            while len(oldest) < len(behind) and time.monotonic() < until:
                for record in tail.poll(_POLL_S):
                    oldest.setdefault(record.partition, record.timestamp)
        finally:
            tail.close()
        if not oldest:
            return None
        return max(0.0, (datetime.now(UTC) - min(oldest.values())).total_seconds())

    def _describe(self, topics: Sequence[str]) -> dict[str, Any]:
        prefix = self._kafka.topic_prefix
        with self._asking("describing topics") as admin:
            rows = admin.describe_topics([prefix + topic for topic in topics])
        found = {row["name"]: row for row in rows if row["error_code"] == 0}
        return {topic: found.get(prefix + topic) for topic in topics}

    @contextmanager
    def _asking(self, doing: str) -> Iterator[Any]:
        """An admin client for one question; it is dropped when the question fails."""
        with self._lock, translated(doing):
            if self._admin is None:
                self._admin = admin_client(self._kafka)
            admin, self._admin = self._admin, None
            try:
                yield admin
                self._admin = admin
            finally:
                if self._admin is None:
                    admin.close()


def admin_client(kafka: KafkaSettings) -> Any:
    """A connected admin client. Raises RetryableError (unreachable), FatalError."""
    options = {**connection_options(kafka), "request_timeout_ms": REQUEST_TIMEOUT_MS}
    servers = [server.strip() for server in kafka.bootstrap_servers.split(",")]
    # Each by itself: the client (3.0.12) picks one at random and gives it the whole time, so that
    # of three brokers one that hangs would fail every third connection.
    timeout_ms = max(BOOTSTRAP_TIMEOUT_MS // len(servers), BOOTSTRAP_TIMEOUT_MS_MIN)
    problems = []
    for server in random.sample(servers, len(servers)):
        try:
            require_reachable(server)
            with translated(f"connecting to Kafka at {server}"):
                return KafkaAdminClient(
                    **options | {"bootstrap_servers": [server]}, bootstrap_timeout_ms=timeout_ms
                )
        except RetryableError as cause:
            problems.append(str(cause))
    raise RetryableError("; ".join(problems))


def require_reachable(server: str) -> None:
    """Returns when a bootstrap server takes a connection.

    Asked first because the client only says so after its whole back-off (28 s for a time-out of
    3 s, 3.0.12). Raises RetryableError, FatalError (no address).
    """
    host, _, port = server.rpartition(":")
    if not host or not port.isdigit():
        raise FatalError(
            f"{server!r} is no address", "write kafka.bootstrap_servers as host:port,host:port"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_TIMEOUT_S).close()
    except OSError as cause:
        raise RetryableError(f"connecting to Kafka: {server}: {cause.strerror or cause}") from cause
