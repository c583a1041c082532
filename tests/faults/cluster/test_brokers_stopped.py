"""Brokers that stand still with their connections open: one, two of three, a coordinator."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from consumers.spec import Record, Rejection
from contracts.failures import EXIT_OK
from contracts.topics import PAYLOAD, RECEIVED
from infra.broker import partition_for_key
from infra.settings import Settings
from operations.ports import free_ports
from operations.stack_files import to_toml
from tests.consumers.bus import bus_of, eventually
from tests.consumers.consumer_process import ConsumerProcess
from tests.consumers.index_events import content, received
from tests.consumers.recording import INPUT, RecordingWriter, publish_numbers, running
from tests.edge_gateway.centre_side import Centre
from tests.edge_gateway.forwarding import forwarder_settings
from tests.edge_gateway.gateway_fixtures import StartForwarder, start_forwarder
from tests.edge_gateway.test_levels import LATE, STUDY, Sending, gateway_of, instance, rule
from tests.engines import _to_json
from tests.faults.cluster.three_brokers import BROKERS, Cluster, with_quick_answers

__all__ = ["start_forwarder"]
WITHIN_S = 150.0
GROUP = "recording"
pytestmark = pytest.mark.timeout(900)


def test_one_that_stands_still_is_done_without_and_with_two_nothing_counts_as_published(
    cluster: Cluster, cluster_settings: Settings, tmp_path: Path, start_forwarder: StartForwarder
) -> None:
    rules = [rule("BUS", "kafka", 150_000), rule("HURRY", "kafka", 3_000), rule("FAST", "disk")]
    settings = forwarder_settings(with_quick_answers(cluster_settings), admit=rules)
    process = start_forwarder(settings)
    with gateway_of(settings) as gateway:
        centre = Centre(settings, gateway.spool.identity.gateway_id)
        assert Sending(gateway, instance(tmp_path, 1), "BUS").start().status() == 0

        partition = partition_for_key(STUDY.encode(), PAYLOAD.partitions)
        first = cluster.leader(settings.kafka, PAYLOAD.name, partition)
        began = time.monotonic()
        cluster.stand_still(first)
        assert Sending(gateway, instance(tmp_path, 2), "BUS").start().status() == 0
        print(f"level kafka reached with two of three after {time.monotonic() - began:.1f} s")

        second = next(broker for broker in BROKERS if broker != first)
        cluster.stand_still(second)
        assert Sending(gateway, instance(tmp_path, 3), "HURRY").start().status() == LATE
        assert Sending(gateway, instance(tmp_path, 4), "FAST").start().status() == 0
        eventually(lambda: len(gateway.deliveries()) == 4, "all four in the spool")
        in_flight = "hilum_forward_in_flight_bytes"
        eventually(lambda: process.metric(in_flight) > 0, "sent, unanswered", WITHIN_S)
        assert process.metric("hilum_forward_published_total") == 2, "counted without copies"

        began = time.monotonic()
        cluster.heal()
        truth = {entry.delivery_id: body for entry, body in gateway.deliveries()}
        eventually(lambda: centre.received_ids() == set(truth), "all published", WITHIN_S)
        print(f"all published {time.monotonic() - began:.1f} s after both went on")
        for event in centre.received():
            assert centre.payload(event) == truth[event.delivery_id]
        eventually(lambda: process.readiness()[0], process.log(), WITHIN_S)
        centre.close()


@pytest.mark.soak
def test_a_member_that_joins_at_a_coordinator_that_hangs_joins_its_successor(
    cluster: Cluster,
    cluster_settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client alone would wait for the longest batch: 305 s here, an hour for packs."""
    monkeypatch.setattr("consumers.idle_watch.IDLE_S_MAX", 5.0)
    settings = with_quick_answers(cluster_settings)
    written = threading.Event()

    def write_for_long(batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        written.wait(WITHIN_S)
        return ()

    slow, waiting = RecordingWriter(write_for_long), RecordingWriter()
    with bus_of(settings.kafka) as bus, ExitStack() as stack:
        publish_numbers(bus, range(200))
        stack.enter_context(running(settings, tmp_path / "1", slow))
        stack.callback(written.set)
        eventually(lambda: slow.batches != [], "a long write", WITHIN_S)
        member = stack.enter_context(running(settings, tmp_path / "2", waiting))
        eventually(lambda: bus.group_state(GROUP) == "PreparingRebalance", "joining", WITHIN_S)
        hanging = cluster.coordinator(settings.kafka, GROUP)
        stack.callback(cluster.heal)
        cluster.stand_still(hanging)
        began = time.monotonic()
        eventually(
            lambda: cluster.coordinator(settings.kafka, GROUP) != hanging, "another one", WITHIN_S
        )
        written.set()
        eventually(lambda: bus.lag(GROUP, [INPUT]) == 0, "all committed", WITHIN_S)
        member.wait_ready()
        print(f"all committed, both members in, {time.monotonic() - began:.1f} s after it hung")
    assert set(slow.written) | set(waiting.written) == set(range(200))


def test_a_consumer_stops_when_asked_while_its_sink_is_down_and_its_coordinator_hangs(
    cluster: Cluster, cluster_settings: Settings, tmp_path: Path
) -> None:
    (nowhere,) = free_ports(1)
    tree = json.loads(_to_json(cluster_settings))
    tree["primary"]["clickhouse"] |= {"port": nowhere, "secure": False}
    path = tmp_path / "settings.toml"
    path.write_text(to_toml(tree))
    events = [received(content(number)) for number in range(20)]
    with bus_of(cluster_settings.kafka) as bus:
        bus.publish_events([(event, b"study") for event in events])
        process = ConsumerProcess("metadata-index", path, tmp_path)
        try:
            process.line("retrying")
            cluster.stand_still(cluster.coordinator(cluster_settings.kafka, "metadata-index"))
            began = time.monotonic()
            process.child.send_signal(signal.SIGTERM)
            assert process.exit_code() == EXIT_OK
            print(f"stopped after {time.monotonic() - began:.1f} s")
        finally:
            process.end()
        cluster.heal()
        assert bus.lag("metadata-index", [RECEIVED]) == len(events), "nothing was committed"
