"""The way out: what is in the spool reaches the bus once acknowledged, whole and in order."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

from contracts.events import InstanceReceived
from contracts.identity import record_key
from contracts.topics import CHUNK_BYTES_MAX, PAYLOAD
from infra.broker import partition_for_key
from infra.settings import Settings
from tests.edge_gateway.centre_side import Centre, deliveries_in
from tests.edge_gateway.forwarding import MIB, ForwarderProcess, eventually, forwarder_settings
from tests.edge_gateway.gateway_fixtures import (
    StartForwarder,
    centre,
    modality,
    north_settings,
    start_forwarder,
)
from tests.edge_gateway.modality import CT_IMAGE_STORAGE, Modality, open_modality

__all__ = ["centre", "modality", "north_settings", "start_forwarder"]
STUDY = "1.2.826.0.1.3680043.8.498.100"


def test_events_name_acknowledged_chunks_that_reassemble_to_the_same_sha256(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    association_id = modality.associate()
    sizes = [0, 2_000, CHUNK_BYTES_MAX - 300, 5 * MIB + 7]
    for size_bytes in sizes:
        modality.store(association_id, STUDY, size_bytes)
    modality.store(association_id, "", 500)
    empty = modality.store_bytes(association_id, "1.2.3.4.5", b"")
    modality.answer(empty)
    modality.release(association_id)
    start_forwarder(north_settings).await_ready()
    eventually(lambda: len(centre.received()) == len(modality.order), "all published")

    for event in centre.received():
        data = modality.stored[event.delivery_id]
        payload = centre.payload(event)
        assert payload == data
        assert hashlib.sha256(payload).hexdigest() == event.content.content_sha256
        assert event.payload_offsets is not None
        assert len(event.payload_offsets) == max(1, -(-len(data) // CHUNK_BYTES_MAX))
        expected = partition_for_key(record_key(event.content), PAYLOAD.partitions)
        assert event.payload_partition == expected
        assert event.size_bytes == len(data)
    assert len(centre.received_ids()) == len(modality.order)


def test_an_event_says_who_sent_what_and_the_header(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    association_id = modality.associate()
    stored = modality.store(association_id, STUDY)
    modality.release(association_id)
    start_forwarder(north_settings)
    eventually(lambda: len(centre.received()) == 1, "published")
    event = centre.received()[0]
    assert event.content.study_instance_uid == STUDY
    assert event.content.series_instance_uid == f"{STUDY}.1"
    assert event.content.sop_instance_uid == stored.sop_instance_uid
    assert event.content.content_sha256 == stored.content_sha256
    assert event.sop_class_uid == CT_IMAGE_STORAGE
    assert (event.site, event.gateway_id) == ("north", centre.gateway_id)
    assert (event.calling_ae_title, event.called_ae_title) == ("MODALITY", "NORTH")
    assert event.received_at == stored.received_at
    assert event.published_at is not None and event.published_at >= event.received_at
    assert event.header_complete and event.quarantine_reason is None
    assert json.loads(event.header)["00080060"]["Value"] == ["CT"]


def test_events_of_a_study_stand_in_the_order_of_acceptance(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    association_id = modality.associate()
    # Large and small mixed: what is acknowledged first is not what was accepted first.
    for number in range(120):
        modality.store(association_id, STUDY, 2 * MIB if number % 40 == 0 else 3_000)
    modality.release(association_id)
    start_forwarder(north_settings)
    eventually(lambda: len(centre.received()) >= 120, "published")
    assert [event.delivery_id for event in centre.received()] == modality.order


def test_what_arrives_while_the_forwarder_runs_follows_at_once(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    process = start_forwarder(north_settings)
    process.await_ready()
    for number in range(6):
        modality.store_study(f"{STUDY}.{number}", 40, 9_000)  # some 2 MiB: segments roll over
    eventually(lambda: len(centre.received()) == 240, "published")
    assert centre.received_ids() == set(modality.order)
    assert process.stop() == 0


def test_a_killed_forwarder_loses_nothing_and_repeats_only_the_same_deliveries(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    modality.store_study(STUDY, 600, 30_000)
    for turn in (1, 2, 3):
        # However late the kill comes, the window has let out a part only: some 140 more each time.
        window = forwarder_settings(north_settings, published_unarchived_bytes_max=4 * turn * MIB)
        process = start_forwarder(window)
        eventually(partial(is_under_way, process), "under way", 0.001)
        process.kill()
    assert len(centre.received_ids()) < len(modality.order)
    start_forwarder(north_settings)
    eventually(lambda: centre.received_ids() == set(modality.order), "all")
    for event in _last_by_delivery(centre.received()):
        assert centre.payload(event) == modality.stored[event.delivery_id]


def test_without_its_ledger_everything_in_the_spool_is_published_again(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    modality.store_study(STUDY, 30, 60_000)  # more than one segment
    first = start_forwarder(north_settings)
    eventually(lambda: len(centre.received()) == 30, "published")
    assert first.stop() == 0
    former = centre.states()[-1].boot_id
    for path in modality_ledger(north_settings):
        path.unlink()
    start_forwarder(north_settings)
    eventually(lambda: len(centre.received()) == 60, "published again")
    assert centre.received_ids() == set(modality.order)
    centre.await_state(
        lambda state: (
            state.boot_id != former
            and deliveries_in(state, "published") == 30
            and state.receipts_unpublished == 0
        ),
        "the new process has published and told all",
    )


def test_a_damaged_ledger_is_set_aside_and_filled_again(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    modality.store_study(STUDY, 5)
    ledger = north_settings.gateways["north"].spool.directory / "progress.sqlite"
    ledger.write_bytes(b"this is no database" * 1000)
    start_forwarder(north_settings).await_ready()
    eventually(lambda: centre.received_ids() == set(modality.order), "published")
    assert ledger.with_suffix(".damaged").exists()


def test_published_and_unarchived_bytes_stay_below_the_window(
    engine_settings: Settings,
    north_settings: Settings,
    modality: Modality,
    centre: Centre,
    start_forwarder: StartForwarder,
) -> None:
    settings = forwarder_settings(north_settings, published_unarchived_bytes_max=MIB)
    modality.store_study(STUDY, 40, 100_000)
    start_forwarder(settings)
    state = centre.await_state(
        lambda state: deliveries_in(state, "published") == 10, "the window is full"
    )
    assert 0 < state.window_bytes <= MIB
    assert deliveries_in(state, "spooled") == 30
    # It holds: two more states say the same.
    count = len(centre.states())
    eventually(lambda: len(centre.states()) > count + 2, "later states")
    assert centre.deliveries_in("published") == len(centre.received()) == 10
    assert state.oldest_unarchived_at is not None


def test_a_delivery_larger_than_every_limit_goes_alone(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    settings = forwarder_settings(
        north_settings,
        published_unarchived_bytes_max=MIB,
        publish_in_flight_bytes_max=MIB,
    )
    association_id = modality.associate()
    large = modality.store(association_id, STUDY, 12 * MIB)
    modality.release(association_id)
    start_forwarder(settings)
    eventually(lambda: len(centre.received()) == 1, "published")
    assert centre.payload(centre.received()[0]) == modality.stored[large.delivery_id]


def test_rotten_bytes_are_never_published_and_hold_up_nobody(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    association_id = modality.associate()
    large = modality.store(association_id, STUDY, 3 * MIB)
    modality.store(association_id, STUDY, 5_000)
    modality.release(association_id)
    directory = north_settings.gateways["north"].spool.directory
    path = directory / "objects" / f"{large.delivery_id}.ds"
    data = bytearray(path.read_bytes())
    data[2 * MIB] ^= 1
    path.write_bytes(data)
    process = start_forwarder(north_settings)
    eventually(lambda: len(centre.received()) == 1, "the sound one")
    assert centre.received()[0].delivery_id != large.delivery_id
    eventually(lambda: is_ready_saying(process, "rotten in the spool"), "told, and ready")
    eventually(lambda: centre.deliveries_in("spooled") == 1, "kept")


def test_a_copied_spool_publishes_nothing_and_says_so(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    modality.store_study(STUDY, 3)
    first = start_forwarder(north_settings)
    eventually(lambda: len(centre.states()) > 1, "the first is known")
    original = north_settings.gateways["north"].spool.directory
    copy = original.with_name("spool-copy")
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("progress.sqlite*"))
    copy_ledger(original, copy)
    settings = forwarder_settings(north_settings, spool={"directory": str(copy)})
    second = start_forwarder(settings)
    eventually(lambda: "was first" in second.readiness()[1], "the second is red")
    copied = open_modality(settings)
    copied.store_study(f"{STUDY}.9", 2)
    modality.store_study(f"{STUDY}.8", 2)
    eventually(lambda: len(centre.received_ids()) == 5, "the first goes on")
    count = len(centre.states())
    eventually(lambda: len(centre.states()) > count + 3, "time has passed")
    assert centre.received_ids() == set(modality.order)
    eventually(lambda: first.readiness()[0], "the first is ready")
    eventually(lambda: "was first" in second.readiness()[1], "the second is red")
    assert not second.readiness()[0]
    copied.spool.close()


def is_under_way(process: ForwarderProcess) -> bool:
    return process.metric("hilum_forward_published_total") > 0


def is_ready_saying(process: ForwarderProcess, text: str) -> bool:
    is_ready, reason = process.readiness()
    return is_ready and text in reason


def copy_ledger(source: Path, target: Path) -> None:
    """A ledger whose process goes on writing it, as of one moment."""
    name = "progress.sqlite"
    with (
        closing(sqlite3.connect(source / name, timeout=60)) as living,
        closing(sqlite3.connect(target / name)) as copy,
    ):
        living.backup(copy)


def modality_ledger(settings: Settings) -> list[Path]:
    return list(settings.gateways["north"].spool.directory.glob("progress.sqlite*"))


def _last_by_delivery(events: list[InstanceReceived]) -> list[InstanceReceived]:
    return list({event.delivery_id: event for event in events}.values())
