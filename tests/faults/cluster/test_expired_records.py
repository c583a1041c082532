"""Records that expire while too few replicas are in sync, and the publisher's way on."""

from __future__ import annotations

import time

import pytest

from contracts.envelope import Origin
from contracts.failures import RetryableError
from contracts.topics import RECEIVED
from infra.broker import KafkaPublisher
from infra.clock import SystemClock
from infra.seams import OutgoingRecord, PendingPublication, PublishedAt
from infra.settings import Settings
from infra.topic_tail import read_all
from tests.consumers.bus import eventually
from tests.faults.cluster.three_brokers import BROKERS, Cluster

WITHIN_S = 150.0
PARTITION = 0


@pytest.mark.timeout(600)
def test_after_records_that_expired_the_next_ones_go(
    cluster: Cluster, cluster_settings: Settings
) -> None:
    """kafka-python 3.0.12 forgets what it had drained beside a batch that expires."""
    kafka = cluster_settings.kafka.model_copy(
        update={"delivery_timeout_ms": 6_000, "request_timeout_ms": 5_000}
    )
    publisher = KafkaPublisher(kafka, Origin("/hilum/test/expired"), SystemClock())
    leader = cluster.leader(kafka, RECEIVED.name, PARTITION)
    acknowledged = {_publish(publisher, 0).result(WITHIN_S).offset: b"0"}
    for broker in BROKERS:
        if broker != leader:
            cluster.kill(broker)
    pending: list[tuple[int, PendingPublication]] = []
    is_expired = False
    began = time.monotonic()
    while not is_expired or len(pending) < 40:
        assert time.monotonic() - began < WITHIN_S, "nothing expired"
        try:
            pending.append((len(pending) + 1, _publish(publisher, len(pending) + 1)))
        except RetryableError:
            continue
        time.sleep(0.1)
        is_expired = is_expired or any(_has_failed(one) for _, one in pending if one.done())
    cluster.heal()
    cluster.wait_in_sync(kafka)
    # Everything ends, one way or the other, and what is sent from now on arrives.
    eventually(lambda: all(one.done() for _, one in pending), "each record has its end", WITHIN_S)
    last = _publish_until_taken(publisher)
    for number, one in pending:
        if not _has_failed(one):
            acknowledged[one.result(0).offset] = str(number).encode()
    acknowledged[last.offset] = b"last"
    publisher.close()
    found = {r.offset: r.value for r in read_all(kafka, RECEIVED.name, (PARTITION,))}
    assert acknowledged.items() <= found.items()


def _publish(publisher: KafkaPublisher, number: int | str) -> PendingPublication:
    record = OutgoingRecord(RECEIVED.name, b"study", str(number).encode(), (), PARTITION)
    return publisher.publish(record)


def _publish_until_taken(publisher: KafkaPublisher) -> PublishedAt:
    until = time.monotonic() + WITHIN_S
    while True:
        try:
            return _publish(publisher, "last").result(10.0)
        except RetryableError:
            assert time.monotonic() < until, "nothing is taken any more"


def _has_failed(pending: PendingPublication) -> bool:
    try:
        pending.result(0)
    except RetryableError:
        return True
    return False
