"""The forwarder under a limit, with priorities and compression: all arrives, in its turn."""

from __future__ import annotations

from contracts.events import CustodyState
from contracts.topics import PAYLOAD
from infra.settings import Settings
from infra.topic_tail import read_all
from tests.edge_gateway.centre_side import Centre, archived
from tests.edge_gateway.forwarding import MIB, eventually, forwarder_settings
from tests.edge_gateway.gateway_fixtures import (
    StartForwarder,
    centre,
    modality,
    north_settings,
    start_forwarder,
)
from tests.edge_gateway.modality import Modality

__all__ = ["centre", "modality", "north_settings", "start_forwarder"]
STUDY = "1.2.826.0.1.3680043.8.498.700"
ALL_DAY = (
    {"begins": "00:00", "ends": "12:00", "bandwidth_bytes_per_s_max": 0},
    {"begins": "12:00", "ends": "00:00", "bandwidth_bytes_per_s_max": 0},
)


def test_payload_waits_for_the_schedule_and_receipts_and_custody_go_on(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    pause = {"schedule": ALL_DAY, "time_zone": "UTC"}
    settings = forwarder_settings(north_settings, forwarding=pause, receipt_page_age_s=0.2)
    modality.store_study(STUDY, 3)
    process = start_forwarder(settings)
    eventually(lambda: len(centre.receipts()) == 1, process.log())
    waits = (True, "payload waits for the end of a window of the schedule")
    eventually(lambda: process.readiness() == waits, process.log())
    eventually(lambda: centre.deliveries_in("spooled") == 3, process.log())
    assert not centre.received()
    assert process.stop() == 0
    process = start_forwarder(north_settings)
    eventually(lambda: len(centre.received()) == 3, "the window is over")
    centre.say_custody(CustodyState.ARCHIVED, archived(centre.received()))
    eventually(lambda: centre.deliveries_in("archived") == 3, "archived")


def test_compressed_payload_under_a_limit_with_priorities_arrives_the_same(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    forwarding = {
        "bandwidth_bytes_per_s_max": 2 * MIB,
        "bandwidth_burst_bytes_max": MIB // 2,
        "priorities": [{"calling_ae_title": "MODALITY", "modality": "CT", "priority": 2}],
        "payload_compression": "zstd",
    }
    settings = forwarder_settings(north_settings, forwarding=forwarding)
    modality.store_study(STUDY, 4, MIB)
    process = start_forwarder(settings)
    eventually(lambda: len(centre.received()) == 4, process.log())
    for event in centre.received():
        assert centre.payload(event) == modality.stored[event.delivery_id]
    limit = "hilum_forward_bandwidth_limit_bytes_per_s"
    eventually(lambda: process.metric(limit) == 2 * MIB, "the limit is told")
    sent = sum(len(record.value or b"") for record in read_all(settings.kafka, PAYLOAD.name))
    assert sent > 4 * MIB
