"""A test's own topics on the shared broker: produce, and look at what stands where."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from contracts.codec import decode
from contracts.envelope import Origin, event_headers
from contracts.events import Event
from contracts.failures import RetryableError
from contracts.topics import BY_EVENT, Topic
from infra.broker import KafkaPublisher
from infra.clock import SystemClock
from infra.cluster_view import ClusterView, admin_client
from infra.provision_topics import provision_topics
from infra.seams import ConsumedRecord, OutgoingRecord, PublishedAt
from infra.settings import KafkaSettings
from infra.topic_tail import read_all

E = TypeVar("E")

ACKNOWLEDGE_S = 30.0
ORIGIN = Origin("/hilum/test/bus")


def eventually(condition: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
    """Returns once the condition holds; fails with `what` after the deadline."""
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.05)


class Bus:
    """All topics under one prefix, which nobody else uses."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        provision_topics(kafka)
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

    def publish_events(self, events: Sequence[tuple[Event, bytes]]) -> None:
        """Events with their keys, acknowledged on return."""
        pending = [
            self._publisher.publish_event(event, key, f"test-{number}")
            for number, (event, key) in enumerate(events)
        ]
        for publication in pending:
            publication.result(ACKNOWLEDGE_S)

    def publish_one(self, event: Event, key: bytes) -> PublishedAt:
        """One event; says where it stands."""
        return self._publisher.publish_event(event, key, "test").result(ACKNOWLEDGE_S)

    def group_state(self, group: str) -> str:
        """What the coordinator says of a group: Stable, PreparingRebalance, …"""
        return str(self._describe(group)["group_state"])

    def members(self, group: str) -> int:
        """How many members a group has."""
        return len(self._describe(group)["members"])

    def dead_letters(self, topic: Topic) -> list[ConsumedRecord]:
        """What is on the topic's dead-letter topic."""
        return list(read_all(self.kafka, topic.dlq_name))

    def events(self, event_type: type[E]) -> list[E]:
        """Every event on its topic."""
        topic = BY_EVENT[event_type]  # type: ignore[index]
        return [decode(r.value or b"", event_type) for r in read_all(self.kafka, topic.name)]

    def lag(self, group: str, topics: Sequence[Topic]) -> int:
        """Records of these topics that the group has not committed."""
        until = time.monotonic() + ACKNOWLEDGE_S
        while True:
            try:
                found = self.view.group_lag(group, [topic.name for topic in topics])
                return sum(lag.records for lag in found.values())
            except RetryableError:  # a new group has no coordinator yet
                assert time.monotonic() < until
                time.sleep(0.05)

    def _describe(self, group: str) -> Any:
        name = self.kafka.topic_prefix + group
        admin: Any = admin_client(self.kafka)
        try:
            return admin.describe_groups([name])[name]
        finally:
            admin.close()

    def close(self) -> None:
        """Releases the connections."""
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
