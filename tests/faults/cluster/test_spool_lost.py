"""A disk and a broker are lost at once: what level kafka answered is still on the bus."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from contracts.topics import PAYLOAD
from infra.broker import partition_for_key
from infra.settings import Settings
from tests.consumers.bus import eventually
from tests.edge_gateway.centre_side import Centre
from tests.edge_gateway.forwarding import forwarder_settings
from tests.edge_gateway.gateway_fixtures import StartForwarder, start_forwarder
from tests.edge_gateway.test_levels import STUDY, Sending, gateway_of, instance, rule
from tests.faults.cluster.three_brokers import Cluster, with_quick_answers
from tests.faults.laboratory import Record
from tests.polling import succeeded

__all__ = ["start_forwarder"]
ANSWERED = (1, 2, 3)
WITHIN_S = 150.0
pytestmark = pytest.mark.timeout(900)


def test_what_was_answered_at_level_kafka_outlives_the_disk_and_a_broker(
    cluster: Cluster,
    cluster_settings: Settings,
    tmp_path: Path,
    start_forwarder: StartForwarder,
    record_property: Record,
) -> None:
    rules = [rule("BUS", "kafka", 150_000)]
    settings = forwarder_settings(with_quick_answers(cluster_settings), admit=rules)
    process = start_forwarder(settings)
    with gateway_of(settings) as gateway:
        gateway_id = gateway.spool.identity.gateway_id
        for number in ANSWERED:
            assert Sending(gateway, instance(tmp_path, number), "BUS").start().status() == 0
        process.kill()
        # Nobody speaks to the bus for it any more, so this one is not answered well.
        unheard = Sending(gateway, instance(tmp_path, len(ANSWERED) + 1), "BUS").start()
        eventually(lambda: len(gateway.deliveries()) == len(ANSWERED) + 1, "on the disk", WITHIN_S)
        truth = {entry.delivery_id: body for entry, body in gateway.deliveries()[: len(ANSWERED)]}
    assert unheard.status() != 0
    shutil.rmtree(settings.gateways["north"].spool.directory)
    partition = partition_for_key(STUDY.encode(), PAYLOAD.partitions)
    cluster.kill(cluster.leader(settings.kafka, PAYLOAD.name, partition))

    centre = Centre(settings, gateway_id)
    eventually(lambda: centre.received_ids() == set(truth), "read from two brokers", WITHIN_S)
    for event in centre.received():
        body = succeeded(partial(centre.payload, event), "its bytes", WITHIN_S)
        assert body == truth[event.delivery_id]
    centre.close()
    record_property("figure", f"0 lost of {len(truth)} at level kafka")
