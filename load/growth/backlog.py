"""A backlog on Kafka: topics of one point with their own partitions, and the events of its sites.

Invariant: what is published is what gateways publish (chunks first, then the event that names
where they lie), and everything is acknowledged on return. Topics belong to one point alone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from contracts.envelope import Origin
from contracts.events import InstanceReceived, PayloadChunk
from contracts.identity import ContentKey, record_key
from contracts.topics import TOPICS
from infra.broker import KafkaPublisher
from infra.broker_errors import translated
from infra.clock import SystemClock
from infra.cluster_view import admin_client
from infra.settings import KafkaSettings
from load.growth.archive import KINDS, study
from load.growth.told import told

ACKNOWLEDGE_S = 60.0
IN_FLIGHT_MAX = 256
TOPICS_READY_WITHIN_MS = 60_000
# Few instances a study, so that every partition has some.
STUDY_INSTANCES = 20
# A small object: what an instance costs beside its bytes is what may grow.
PIXEL_BYTES = 2_048
_NUMBERS_FROM = 40_000_001


@dataclass(frozen=True, slots=True)
class Delivery:
    """One accepted C-STORE and its data set's bytes."""

    event: InstanceReceived
    data: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing took of this process."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Kit:
    """How many deliveries, from how many sites, with how many bytes of pixels each."""

    count: int
    sites: int
    pixel_bytes: int = PIXEL_BYTES


def deliveries(seed: int, first_study: int, kit: Kit) -> list[Delivery]:
    """Deliveries with full headers, spread over the sites study by study."""
    found: list[Delivery] = []
    for number in range(first_study, 2**31):
        instances = min(STUDY_INSTANCES, kit.count - len(found))
        if instances <= 0:
            return found
        one = study(seed, _NUMBERS_FROM + 2 * number)
        site = f"site-{number % kit.sites + 1}"
        one = replace(one, kind=KINDS[0], instances=instances, series=1, site=site)
        events = told([one], len(found), is_full=True).received
        found += [_with_data(event, kit.pixel_bytes) for event in events]
    return found


def create_topics(kafka: KafkaSettings, partitions: int) -> None:
    """Every topic and dead-letter topic, each topic with that many partitions."""
    wanted: dict[str, Any] = {}
    for topic in TOPICS:
        configuration = {
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(topic.message_bytes_max),
        }
        for name, count in ((topic.name, partitions), (topic.dlq_name, 1)):
            wanted[kafka.topic_prefix + name] = {
                "num_partitions": count,
                "replication_factor": 1,
                "configs": configuration,
            }
    admin = admin_client(kafka)
    try:
        with translated("creating topics"):
            admin.create_topics(wanted)
            admin.wait_for_topics(list(wanted), timeout_ms=TOPICS_READY_WITHIN_MS)
    finally:
        admin.close()


def delete_topics(kafka: KafkaSettings) -> None:
    """Takes the point's topics away: a broker bears a few thousand partitions."""
    admin = admin_client(kafka)
    try:
        with translated("deleting topics"):
            names = [name for name in admin.list_topics() if name.startswith(kafka.topic_prefix)]
            if kafka.topic_prefix and names:
                admin.delete_topics(names)
    finally:
        admin.close()


def publish(kafka: KafkaSettings, told_of: Sequence[Delivery]) -> Published:
    """On return every chunk and every event is acknowledged. Raises RetryableError, FatalError."""
    publisher = KafkaPublisher(kafka, Origin("/hilum/load/growth"), SystemClock())
    cpu, began = time.process_time(), time.perf_counter()
    try:
        for part in _runs(told_of):
            _publish_run(publisher, part)
    finally:
        publisher.close()
    return Published(time.perf_counter() - began, time.process_time() - cpu)


def _publish_run(publisher: KafkaPublisher, part: Sequence[Delivery]) -> None:
    chunks = [
        publisher.publish_event(
            PayloadChunk(d.event.delivery_id, 0, 1, d.data), record_key(d.event.content), "chunk"
        )
        for d in part
    ]
    places = [pending.result(ACKNOWLEDGE_S) for pending in chunks]
    events = [
        replace(d.event, payload_partition=at.partition, payload_offsets=(at.offset,))
        for d, at in zip(part, places, strict=True)
    ]
    told_now = [
        publisher.publish_event(event, record_key(event.content), event.delivery_id)
        for event in events
    ]
    for pending in told_now:
        pending.result(ACKNOWLEDGE_S)


def _runs(told_of: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
    for start in range(0, len(told_of), IN_FLIGHT_MAX):
        yield told_of[start : start + IN_FLIGHT_MAX]


def _with_data(event: InstanceReceived, pixel_bytes: int) -> Delivery:
    """The event with bytes that hash to its content: a data set in Explicit VR Little Endian."""
    name = event.content.sop_instance_uid.encode()
    uid = name + b"\0" * (len(name) % 2)
    pixels = hashlib.sha256(name).digest() * (pixel_bytes // 32)
    data = (
        b"\x08\x00\x18\x00UI"
        + len(uid).to_bytes(2, "little")
        + uid
        + b"\xe0\x7f\x10\x00OW\0\0"
        + len(pixels).to_bytes(4, "little")
        + pixels
    )
    key = event.content
    content = ContentKey(
        key.study_instance_uid,
        key.series_instance_uid,
        key.sop_instance_uid,
        hashlib.sha256(data).hexdigest(),
    )
    return Delivery(replace(event, content=content, size_bytes=len(data)), data)
