"""A consumer group seen from outside: who is in it, what it has committed, and setting that back.

Invariant: offsets are set only while the group has no member, never beyond what it has committed,
and each carries its topic's id like the group's own commits. Must not join a group.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import OffsetSpec
from kafka.structs import OffsetAndMetadata

from contracts.failures import RetryableError
from infra.broker_errors import translated
from infra.cluster_view import ClusterView, admin_client
from infra.partitions import Partition
from infra.settings import KafkaSettings
from infra.topic_tail import partitions_of

# A member that was killed is missed after its session (10 s); a graceful one leaves at once.
EMPTY_S_MAX = 30.0
_POLL_S = 0.2


class GroupOffsets:
    """One group and the topics it reads, by plain names. Not safe from several threads.

    Every method raises RetryableError (unreachable) and FatalError (credentials, rights).
    """

    def __init__(self, kafka: KafkaSettings, group: str, topics: Sequence[str]) -> None:
        self._kafka = kafka
        self._group = kafka.topic_prefix + group
        self._topics = tuple(topics)
        self._admin: Any = None

    def members(self) -> int:
        """How many members the group has now; 0 also where there never was such a group."""
        with translated(f"asking for the members of {self._group}"):
            try:
                found = self._connected().describe_groups([self._group])[self._group]
            except kafka_errors.GroupIdNotFoundError:
                return 0
            return len(found["members"])

    def is_left_within(self, seconds: float) -> bool:
        """Whether the group is without members before that time is over."""
        until = time.monotonic() + seconds
        while self.members():
            if time.monotonic() > until:
                return False
            time.sleep(_POLL_S)
        return True

    def committed(self) -> dict[Partition, int]:
        """Where the group goes on; a partition without a commit is left out."""
        with translated(f"asking for the commits of {self._group}"):
            answer = self._connected().list_group_offsets({self._group: None})[self._group]
        found = {
            Partition(place.topic.removeprefix(self._kafka.topic_prefix), place.partition): int(
                at.offset
            )
            for place, at in answer.items()
            if at.offset >= 0
        }
        return {place: offset for place, offset in found.items() if place.topic in self._topics}

    def lag(self) -> int:
        """Records that the group has not committed, over all its topics."""
        committed = self.committed()
        begins, ends = self._bounds(OffsetSpec.EARLIEST), self._bounds(OffsetSpec.LATEST)
        return sum(max(0, end - committed.get(at, begins[at])) for at, end in ends.items())

    def offsets_from(self, since: datetime | None) -> dict[Partition, int]:
        """The first offset of each partition that was appended at `since` or later.

        The log's beginning where `since` is None, its end where nothing is as late.
        """
        if since is None:
            return self._bounds(OffsetSpec.EARLIEST)
        found = self._bounds(int(since.timestamp() * 1000))
        if all(offset >= 0 for offset in found.values()):
            return found
        ends = self._bounds(OffsetSpec.LATEST)
        return {at: offset if offset >= 0 else ends[at] for at, offset in found.items()}

    def set_back(self, wanted: Mapping[Partition, int]) -> dict[Partition, int]:
        """On return the group goes on at these offsets; those it really went back to.

        A partition is never moved forward nor before its log's beginning, and one without a
        commit begins there anyway. Raises RetryableError also while the group has members.
        """
        committed = self.committed()
        begins = self._bounds(OffsetSpec.EARLIEST) if wanted else {}
        clamped = {at: max(o, begins[at]) for at, o in wanted.items() if at in committed}
        back = {at: offset for at, offset in clamped.items() if offset < committed[at]}
        if not back:
            return {}
        ids = self._topic_ids({at.topic for at in back})
        wire = {
            self._wire(at): OffsetAndMetadata(offset, ids[at.topic], -1)
            for at, offset in back.items()
        }
        with translated(f"setting {self._group} back"):
            outcomes = self._connected().alter_group_offsets(self._group, wire)
        for place, outcome in outcomes.items():
            if outcome is not kafka_errors.NoError:
                raise RetryableError(
                    f"setting {self._group} back in {place.topic}/{place.partition}: "
                    f"{outcome.__name__} (the group must have no members)"
                )
        return back

    def close(self) -> None:
        """Releases the connection."""
        admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()

    def _bounds(self, spec: int) -> dict[Partition, int]:
        places = [Partition(t, number) for t in self._topics for number in partitions_of(t)]
        asked = {self._wire(place): spec for place in places}
        with translated(f"asking for offsets of {', '.join(self._topics)}"):
            answer = self._connected().list_partition_offsets(asked)
        return {place: int(answer[self._wire(place)].offset) for place in places}

    def _topic_ids(self, topics: set[str]) -> dict[str, str]:
        view = ClusterView(self._kafka)
        try:
            return {topic: view.topic_id(topic) or "" for topic in topics}
        finally:
            view.close()

    def _wire(self, place: Partition) -> TopicPartition:
        return TopicPartition(self._kafka.topic_prefix + place.topic, place.number)

    def _connected(self) -> Any:
        if self._admin is None:
            self._admin = admin_client(self._kafka)
        return self._admin
