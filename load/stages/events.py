"""What the topics say of a run: where they stood before it, what was appended since.

Invariant: while instances are on their way only packs and commits are followed (a few records a
second), so that the instrument takes next to nothing from what it measures; the received events,
which carry whole headers, are read when the run is over. Every time is the broker's. It must not
commit, and joins no group.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from contracts import codec
from contracts.events import Area, InstanceReceived, PackArchived, PackReplicated
from contracts.failures import PoisonError, RetryableError
from contracts.topics import PACK_ARCHIVED, PACK_REPLICATED, RECEIVED, Topic
from infra.cluster_view import ClusterView
from infra.seams import ConsumedRecord
from infra.settings import KafkaSettings
from infra.topic_tail import TopicTail
from load.stages.commits import COMMITS_TOPIC, CommitLog, commit_of

E = TypeVar("E")

# A round of the follower: how late it may notice that all is done (the times are the broker's).
ROUND_S = 0.2
_POLL_S = 0.05
# The received events of a run are read within this or the run has no published times.
READ_TIMEOUT_S = 120.0
FOLLOWED = (RECEIVED, PACK_ARCHIVED, PACK_REPLICATED)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands and when the broker took it (epoch seconds)."""

    partition: int
    offset: int
    at: float


@dataclass(frozen=True, slots=True)
class Pack:
    """An archived pack: `place` of its event, the SOP Instance UIDs in it."""

    place: Place
    object_key: str
    area: Area
    size_bytes: int
    sop_instance_uids: tuple[str, ...]


class Follower:
    """Follows packs, replicas and commits from the moment it is made. One thread only.

    Raises RetryableError, FatalError at every call that asks the broker.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        # Kafka's own topic has no prefix.
        self._plain_kafka = kafka.model_copy(update={"topic_prefix": ""})
        self.start: dict[str, dict[int, int]] = {
            topic.name: topic_ends(kafka, topic.name) for topic in FOLLOWED
        }
        self.packs: list[Pack] = []
        self.replicas: dict[str, float] = {}
        self.replicated_places: list[Place] = []
        self.archived: dict[str, Pack] = {}
        self.commits = CommitLog()
        self._archived_tail = self._tail(PACK_ARCHIVED)
        self._replicated_tail = self._tail(PACK_REPLICATED)
        self._commit_tail = self._tail_of_commits()

    def round(self) -> None:
        """Takes what was appended since the last call."""
        for record in self._archived_tail.poll(_POLL_S):
            self._note_archived(record)
        for record in self._replicated_tail.poll(_POLL_S):
            self._note_replicated(record)
        prefix = self._kafka.topic_prefix
        found = (commit_of(record, prefix) for record in self._commit_tail.poll(_POLL_S))
        self.commits.add(commit for commit in found if commit is not None)

    def close(self) -> None:
        """Releases the connections."""
        for tail in (self._archived_tail, self._replicated_tail, self._commit_tail):
            tail.close()

    def _tail(self, topic: Topic) -> TopicTail:
        return TopicTail(self._kafka, topic.name, start=self.start[topic.name])

    def _tail_of_commits(self) -> TopicTail:
        view = ClusterView(self._plain_kafka)
        try:
            count = view.partitions(COMMITS_TOPIC)
        finally:
            view.close()
        if count is None:
            raise RetryableError("following the commits: no group has ever committed here")
        partitions = tuple(range(count))
        asking = TopicTail(self._plain_kafka, COMMITS_TOPIC, partitions)
        try:
            ends = asking.end_offsets()
        finally:
            asking.close()
        return TopicTail(self._plain_kafka, COMMITS_TOPIC, partitions, ends)

    def _note_archived(self, record: ConsumedRecord) -> None:
        event = _decoded(record, PackArchived)
        if event is None:
            return
        uids = tuple(member.content.sop_instance_uid for member in event.members)
        pack = Pack(place_of(record), event.object_key, event.area, event.object_size_bytes, uids)
        self.packs.append(pack)
        for uid in uids:
            self.archived.setdefault(uid, pack)

    def _note_replicated(self, record: ConsumedRecord) -> None:
        event = _decoded(record, PackReplicated)
        if event is None:
            return
        place = place_of(record)
        self.replicated_places.append(place)
        for member in event.members:
            self.replicas.setdefault(member.content.sop_instance_uid, place.at)


def topic_ends(kafka: KafkaSettings, topic: str) -> dict[int, int]:
    """The offset after the last record of each partition, now."""
    tail = TopicTail(kafka, topic)
    try:
        return tail.end_offsets()
    finally:
        tail.close()


def records_between(
    kafka: KafkaSettings, topic: str, start: Mapping[int, int], ends: Mapping[int, int]
) -> Iterator[ConsumedRecord]:
    """The records from `start` up to `ends`, by partition in order.

    Raises RetryableError when they do not come within READ_TIMEOUT_S.
    """
    open_partitions = {number for number, end in ends.items() if start.get(number, 0) < end}
    if not open_partitions:
        return
    until = time.monotonic() + READ_TIMEOUT_S
    tail = TopicTail(kafka, topic, sorted(open_partitions), start)
    try:
        while open_partitions:
            if time.monotonic() > until:
                raise RetryableError(f"reading {topic}: not done after {READ_TIMEOUT_S:.0f} s")
            for record in tail.poll(ROUND_S):
                if record.offset < ends[record.partition]:
                    yield record
            open_partitions = {n for n in open_partitions if tail.position(n) < ends[n]}
    finally:
        tail.close()


def received_of(record: ConsumedRecord) -> InstanceReceived | None:
    """The received event in a record; None for one that is no such event."""
    return _decoded(record, InstanceReceived)


def place_of(record: ConsumedRecord) -> Place:
    """Where the record stands."""
    return Place(record.partition, record.offset, record.timestamp.timestamp())


def _decoded(record: ConsumedRecord, event_type: type[E]) -> E | None:
    try:
        return codec.decode(record.value or b"", event_type)
    except PoisonError:
        return None  # somebody else's record on an attached stack: consumers tell of it
