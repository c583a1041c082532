"""A test's own topics on the shared broker: produce, and look at what stands where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from contracts.codec import decode
from contracts.envelope import Origin, event_headers
from contracts.events import Event
from contracts.topics import BY_EVENT, Topic
from infra.broker import KafkaPublisher
from infra.broker_errors import translated
from infra.clock import SystemClock
from infra.cluster_view import ClusterView, admin_client
from infra.group_offsets import GroupOffsets
from infra.provision_topics import provision_topics
from infra.seams import ConsumedRecord, OutgoingRecord, PublishedAt
from infra.settings import KafkaSettings
from infra.topic_tail import read_all
from tests.polling import eventually as eventually
from tests.polling import succeeded

E = TypeVar("E")

ACKNOWLEDGE_S = 90.0
ORIGIN = Origin("/hilum/test/bus")


class Bus:
    """All topics under one prefix, which nobody else uses."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        succeeded(lambda: provision_topics(kafka), "the topics are there")
        self._groups: dict[tuple[str, tuple[str, ...]], GroupOffsets] = {}
        self.view = ClusterView(kafka)
        self._clock = SystemClock()
        self._publisher = KafkaPublisher(kafka, ORIGIN, self._clock)

    def event_record(self, event: Event, key: bytes, value: bytes, event_id: str) -> OutgoingRecord:
        """A record for the event's topic with `value` as its bytes."""
        headers = event_headers(type(event), event_id, ORIGIN, self._clock.now())
        return OutgoingRecord(BY_EVENT[type(event)].name, key, value, headers)

    def publish(self, records: Sequence[OutgoingRecord]) -> None:
        """On return all are acknowledged."""
        self._publisher.publish_all(records, ACKNOWLEDGE_S)

    def publish_events(self, events: Sequence[tuple[Event, bytes]]) -> list[PublishedAt]:
        """Events with their keys, acknowledged on return; says where each stands."""
        pending = [
            self._publisher.publish_event(event, key, f"test-{number}")
            for number, (event, key) in enumerate(events)
        ]
        return [publication.result(ACKNOWLEDGE_S) for publication in pending]

    def group_state(self, group: str) -> str:
        """What the coordinator says of a group: Stable, PreparingRebalance, …"""
        name = self.kafka.topic_prefix + group
        with translated(f"asking for the state of {name}"):
            admin: Any = admin_client(self.kafka)
            try:
                return str(admin.describe_groups([name])[name]["group_state"])
            finally:
                admin.close()

    def members(self, group: str) -> int:
        """How many members a group has."""
        return succeeded(self._group(group, ()).members, "the coordinator answers")

    def dead_letters(self, topic: Topic) -> list[ConsumedRecord]:
        """What is on the topic's dead-letter topic."""
        return list(read_all(self.kafka, topic.dlq_name))

    def records(self, topic: Topic) -> list[ConsumedRecord]:
        """What is on the topic."""
        return list(read_all(self.kafka, topic.name))

    def events(self, event_type: type[E]) -> list[E]:
        """Every event on its topic."""
        topic = BY_EVENT[event_type]  # type: ignore[index]
        return [decode(r.value or b"", event_type) for r in read_all(self.kafka, topic.name)]

    def lag(self, group: str, topics: Sequence[Topic]) -> int:
        """Records of these topics that the group has not committed."""
        names = tuple(topic.name for topic in topics)
        # A new group has no coordinator yet.
        return succeeded(self._group(group, names).lag, "the coordinator answers")

    def _group(self, group: str, topics: tuple[str, ...]) -> GroupOffsets:
        known = self._groups.get((group, topics))
        if known is None:
            known = self._groups[group, topics] = GroupOffsets(self.kafka, group, topics)
        return known

    def close(self) -> None:
        """Releases the connections."""
        for group in self._groups.values():
            group.close()
        self._publisher.close()
        self.view.close()


@contextmanager
def bus_of(kafka: KafkaSettings) -> Iterator[Bus]:
    """A Bus for the length of a block."""
    bus = Bus(kafka)
    try:
        yield bus
    finally:
        bus.close()


def delete_topics(kafka: KafkaSettings, names: Sequence[str]) -> None:
    """Deletes topics by their plain names."""
    admin: Any = admin_client(kafka)
    try:
        admin.delete_topics([kafka.topic_prefix + name for name in names])
    finally:
        admin.close()


def header(record: ConsumedRecord, name: str) -> str:
    """The text of a header that must be there once."""
    (value,) = [value for key, value in record.headers if key == name]
    return value.decode()
