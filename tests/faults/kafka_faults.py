"""What no code of ours does to topics: taking records away before their time."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from kafka import TopicPartition

from contracts import codec
from contracts.events import Event
from contracts.topics import BY_EVENT, PAYLOAD
from infra.cluster_view import admin_client
from infra.settings import Settings
from infra.topic_tail import read_all
from tests.polling import succeeded

E = TypeVar("E")


def delete_payload(settings: Settings) -> None:
    """Every chunk there is now is gone, as after its retention."""
    topic = settings.kafka.topic_prefix + PAYLOAD.name
    admin: Any = admin_client(settings.kafka)
    try:
        admin.delete_records({TopicPartition(topic, p): -1 for p in range(PAYLOAD.partitions)})
    finally:
        admin.close()


def events(settings: Settings, event_type: type[E]) -> list[E]:
    """Every event on its topic; a busy broker is asked again."""
    name = BY_EVENT[cast(type[Event], event_type)].name
    found = succeeded(lambda: list(read_all(settings.kafka, name)), f"reading {name}")
    return [codec.decode(record.value or b"", event_type) for record in found]
