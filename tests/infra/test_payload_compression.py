"""Payload that was asked to be packed lies packed in the log and comes back as it was."""

from __future__ import annotations

import pytest

from contracts import topics
from infra.broker import KafkaPublisher
from infra.clock import SystemClock
from infra.cluster_view import admin_client
from infra.settings import KafkaSettings
from tests.infra.bus_records import ACKNOWLEDGED_WITHIN_S, ORIGIN, Since, record

PIXELS = bytes(range(256)) * 3_000  # 768,000 bytes that every codec packs well


def log_bytes(kafka: KafkaSettings) -> int:
    """What the payload topic's logs hold."""
    admin = admin_client(kafka)
    try:
        answers = admin.describe_log_dirs()
    finally:
        admin.close()
    wire_topic = kafka.topic_prefix + topics.PAYLOAD.name
    return sum(
        int(partition["partition_size"])
        for broker in answers
        for directory in broker["log_dirs"]
        for found in directory["topics"]
        if found["name"] == wire_topic
        for partition in found["partitions"]
    )


@pytest.mark.parametrize("codec", ["none", "gzip", "lz4", "zstd"])
def test_packed_payload_is_small_in_the_log_and_reads_the_same(
    kafka: KafkaSettings, codec: str
) -> None:
    since = Since(kafka, topics.PAYLOAD.name)
    before = log_bytes(kafka)
    publisher = KafkaPublisher(kafka, ORIGIN, SystemClock(), payload_compression=codec)
    try:
        publisher.publish(record(PIXELS, topics.PAYLOAD.name)).result(ACKNOWLEDGED_WITHIN_S)
    finally:
        publisher.close()
    grown = log_bytes(kafka) - before
    assert since.values() == [PIXELS]
    assert (grown < len(PIXELS) // 10) is (codec != "none"), f"{grown} bytes"
