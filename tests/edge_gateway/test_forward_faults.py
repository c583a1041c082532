"""Kafka's faults: down at start, killed on the way, replaced by an empty one, a missing topic."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.cluster_view import ClusterView
from infra.settings import Settings
from tests.edge_gateway.centre_side import Centre
from tests.edge_gateway.forwarding import (
    DEADLINE_S,
    ForwarderProcess,
    eventually,
    forwarder_settings,
    provide_topics,
)
from tests.edge_gateway.gateway_fixtures import StartForwarder, start_forwarder
from tests.edge_gateway.modality import Modality, open_modality
from tests.engines import RunningEngines, isolated_settings, start_engines

__all__ = ["start_forwarder"]
STUDY = "1.2.826.0.1.3680043.8.498.400"


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[RunningEngines]:
    """A broker of this test's own, to be killed."""
    running = start_engines(tmp_path / "engines", only=lambda name: name == "kafka")
    yield running
    running.stop()


def restart(kafka: RunningEngines) -> None:
    kafka.start("kafka")
    kafka.await_ready()


def is_red(process: ForwarderProcess, text: str) -> bool:
    is_ready, reason = process.readiness()
    return not is_ready and text in reason


def ready_gateway(kafka: RunningEngines, tmp_path: Path) -> tuple[Settings, Modality, Centre]:
    settings = forwarder_settings(isolated_settings(kafka.settings, tmp_path))
    provide_topics(settings)
    modality = open_modality(settings)
    return settings, modality, Centre(settings, modality.spool.identity.gateway_id)


def test_it_starts_while_kafka_is_down_and_catches_up_by_itself(
    kafka: RunningEngines, tmp_path: Path, start_forwarder: StartForwarder
) -> None:
    settings, modality, centre = ready_gateway(kafka, tmp_path)
    kafka.kill("kafka")
    modality.store_study(STUDY, 20, 30_000)
    process = start_forwarder(settings)
    eventually(lambda: is_red(process, "Kafka unreachable"), "red, and says why")
    restart(kafka)
    process.await_ready()
    eventually(lambda: centre.received_ids() == set(modality.order), "caught up")
    eventually(lambda: centre.states()[-1].receipts_unpublished == 0, "receipts too")
    # And once more on the way.
    kafka.kill("kafka")
    modality.store_study(f"{STUDY}.1", 20, 30_000)
    eventually(lambda: is_red(process, ""), "red")
    restart(kafka)
    eventually(lambda: centre.received_ids() == set(modality.order), "caught up again")
    process.await_ready()
    for event in centre.received():
        assert centre.payload(event) == modality.stored[event.delivery_id]
    assert process.stop() == 0
    centre.close()
    modality.spool.close()


def test_it_stops_in_time_while_kafka_is_down(
    kafka: RunningEngines, tmp_path: Path, start_forwarder: StartForwarder
) -> None:
    settings, modality, centre = ready_gateway(kafka, tmp_path)
    modality.store_study(STUDY, 1)
    process = start_forwarder(settings)
    eventually(lambda: len(centre.received()) == 1, "connected")
    kafka.kill("kafka")
    modality.store_study(STUDY, 20, 30_000)
    eventually(lambda: process.metric("hilum_forward_in_flight_bytes") > 0, "sent, unanswered")
    assert process.stop() == 0
    restart(kafka)
    start_forwarder(settings)
    eventually(lambda: centre.received_ids() == set(modality.order), "caught up")
    centre.close()
    modality.spool.close()


def test_a_cluster_that_lost_everything_gets_what_is_unarchived_again(
    kafka: RunningEngines, tmp_path: Path, start_forwarder: StartForwarder
) -> None:
    settings, modality, centre = ready_gateway(kafka, tmp_path)
    modality.store_study(STUDY, 10)
    process = start_forwarder(settings)
    eventually(lambda: len(centre.received()) == 10, "published")
    eventually(lambda: centre.deliveries_in("published") == 10, "noted")
    assert process.stop() == 0
    old_cluster = ClusterView(settings.kafka).cluster_id()
    kafka.kill("kafka")
    wiped = start_over(kafka, tmp_path)
    try:
        provide_topics(settings)
        assert ClusterView(settings.kafka).cluster_id() != old_cluster
        modality.store_study(f"{STUDY}.1", 2)
        again = start_forwarder(settings)
        eventually(lambda: centre.received_ids() == set(modality.order), "published again")
        again.await_ready()
    finally:
        wiped.stop()
    centre.close()
    modality.spool.close()


def start_over(kafka: RunningEngines, tmp_path: Path) -> RunningEngines:
    """A broker at the same address, formatted anew."""
    offset = int(kafka.settings.kafka.bootstrap_servers.rpartition(":")[2]) - 9092
    shutil.rmtree(tmp_path / "engines")
    return start_engines(tmp_path / "engines", offset, only=lambda name: name == "kafka")


def test_missing_topics_are_waited_for(
    engine_settings: Settings, start_forwarder: StartForwarder
) -> None:
    settings = forwarder_settings(engine_settings)
    modality = open_modality(settings)
    modality.store_study(STUDY, 3)
    process = start_forwarder(settings)
    eventually(lambda: "does not exist" in process.readiness()[1], "it says which topic")
    provide_topics(settings)
    centre = Centre(settings, modality.spool.identity.gateway_id)
    eventually(lambda: centre.received_ids() == set(modality.order), "published")
    centre.close()
    modality.spool.close()


def test_it_waits_for_the_gateways_first_start(
    engine_settings: Settings, start_forwarder: StartForwarder
) -> None:
    settings = forwarder_settings(engine_settings)
    provide_topics(settings)
    process = start_forwarder(settings)
    eventually(lambda: "first start" in process.readiness()[1], "it says what it waits for")
    modality = open_modality(settings)
    process.await_ready()
    second = start_forwarder(forwarder_settings(settings))
    assert second.process is not None
    assert second.process.wait(DEADLINE_S) == 1, "one forwarder per spool"
    modality.spool.close()
