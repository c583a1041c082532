"""The way back: custody, requests, the way back to spooled, and the spool's room."""

from __future__ import annotations

import pytest

from contracts.events import CustodyState, RequestKind
from infra.settings import Settings
from tests.edge_gateway.centre_side import Centre, archived, deliveries_in
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
STUDY = "1.2.826.0.1.3680043.8.498.200"
NO_HOLD = {"hold_s": 0}


def segments(settings: Settings) -> set[str]:
    directory = settings.gateways["north"].spool.directory / "segments"
    return {path.name for path in directory.iterdir()}


def objects(settings: Settings) -> set[str]:
    directory = settings.gateways["north"].spool.directory / "objects"
    return {path.name for path in directory.iterdir()}


def test_what_is_archived_is_purged_after_the_hold_and_its_room_recycled(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    settings = forwarder_settings(north_settings, spool=NO_HOLD)
    modality.store_study(STUDY, 30, 90_000)
    modality.store_study(f"{STUDY}.1", 1, MIB)  # a file of its own
    before = segments(settings)
    start_forwarder(settings)
    eventually(lambda: len(centre.received()) == 31, "published")
    centre.say_custody(CustodyState.REPLICATED, archived(centre.received()))
    eventually(lambda: centre.deliveries_in("published") == 31, "replicated alone resolves nothing")
    centre.say_custody(CustodyState.ARCHIVED, archived(centre.received()[:20]))
    centre.say_custody(CustodyState.QUARANTINED, archived(centre.received()[20:]))
    eventually(lambda: centre.deliveries_in("purged") == 31, "purged")
    eventually(lambda: len(before & segments(settings)) < len(before) - 1, "recycled")
    eventually(lambda: not objects(settings), "its own file is gone")
    state = centre.states()[-1]
    assert state.window_bytes == 0 and state.oldest_unarchived_at is None


def test_the_hold_keeps_what_is_archived(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    modality.store_study(STUDY, 30, 90_000)
    before = segments(north_settings)
    start_forwarder(north_settings)
    eventually(lambda: len(centre.received()) == 30, "published")
    centre.say_custody(CustodyState.ARCHIVED, archived(centre.received()))
    eventually(lambda: centre.deliveries_in("archived") == 30, "archived")
    count = len(centre.states())
    eventually(lambda: len(centre.states()) > count + 4, "time has passed")
    assert before <= segments(north_settings)
    assert centre.deliveries_in("purged") == 0


@pytest.mark.parametrize("limit", [{"spool_bytes_max": 5 * MIB}, {"free_bytes_min": 1 << 60}])
def test_need_for_room_ends_the_hold_early_and_copies_live_remnants_forward(
    north_settings: Settings,
    modality: Modality,
    centre: Centre,
    start_forwarder: StartForwarder,
    limit: dict[str, int],
) -> None:
    settings = forwarder_settings(north_settings, spool=limit)
    modality.store_study(STUDY, 30, 90_000)  # three segments of the five
    start_forwarder(settings)
    eventually(lambda: len(centre.received()) == 30, "published")
    stuck = modality.order[3]
    others = [event for event in centre.received() if event.delivery_id != stuck]
    before = segments(settings)
    centre.say_custody(CustodyState.ARCHIVED, archived(others))
    eventually(lambda: centre.deliveries_in("purged") == 29, "purged in spite of the hold")
    eventually(lambda: objects(settings) == {f"{stuck}.rec"}, "the stuck one saved")
    eventually(lambda: min(before) not in segments(settings), "recycled")
    # It can still be sent again.
    centre.request(RequestKind.REPUBLISH, [stuck])
    eventually(lambda: len(centre.received()) == 31, "published again")
    assert centre.payload(centre.received()[-1]) == modality.stored[stuck]


def test_a_saved_remnant_is_found_again_without_the_ledger(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    settings = forwarder_settings(north_settings, spool={"spool_bytes_max": 5 * MIB})
    modality.store_study(STUDY, 30, 90_000)
    process = start_forwarder(settings)
    eventually(lambda: len(centre.received()) == 30, "published")
    stuck, rotten = modality.order[3], modality.order[1]
    kept = {stuck, rotten}
    others = [event for event in centre.received() if event.delivery_id not in kept]
    centre.say_custody(CustodyState.ARCHIVED, archived(others))
    names = {f"{stuck}.rec", f"{rotten}.rec"}
    eventually(lambda: objects(settings) == names, "the stuck ones saved")
    assert process.stop() == 0
    directory = settings.gateways["north"].spool.directory
    spoilt = directory / "objects" / f"{rotten}.rec"
    spoilt.write_bytes(spoilt.read_bytes()[:-100])
    for path in directory.glob("progress.sqlite*"):
        path.unlink()
    again = start_forwarder(settings)
    eventually(lambda: len(centre.received()) == 31, "published again")
    event = centre.received()[-1]
    assert event.delivery_id == stuck
    eventually(lambda: "1 rotten place(s)" in again.readiness()[1], "told")
    assert centre.payload(event) == modality.stored[stuck]
    eventually(lambda: centre.states()[-1].receipts_unpublished == 0, "nothing waits")


def test_custody_of_other_bytes_or_other_gateways_resolves_nothing(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    settings = forwarder_settings(north_settings, spool=NO_HOLD)
    first, second, third = modality.store_study(STUDY, 3)
    process = start_forwarder(settings)
    eventually(lambda: len(centre.received()) == 3, "published")
    sha256 = {event.delivery_id: event.content.content_sha256 for event in centre.received()}
    centre.say_custody(CustodyState.ARCHIVED, [(first, "0" * 64), ("unknown", "0" * 64)])
    centre.say_custody(CustodyState.ARCHIVED, [(second, sha256[second])], "another-gateway")
    centre.say_custody(CustodyState.ARCHIVED, [(third, sha256[third])])
    eventually(lambda: process.metric("hilum_forward_custody_total") == 3, "all heard")
    state = centre.await_state(lambda state: deliveries_in(state, "purged") == 1, "the right one")
    assert deliveries_in(state, "published") == 2


def test_refused_is_kept_outside_the_window_until_it_is_released(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    settings = forwarder_settings(north_settings, spool=NO_HOLD, published_unarchived_bytes_max=MIB)
    modality.store_study(STUDY, 20, 100_000)
    start_forwarder(settings)
    eventually(lambda: centre.deliveries_in("published") == 10, "the window is full")
    refused = archived(centre.received())
    centre.say_custody(CustodyState.REFUSED, refused)
    eventually(lambda: len(centre.received()) == 20, "the others go on")
    eventually(lambda: centre.deliveries_in("refused") == 10, "kept")
    centre.request(RequestKind.RELEASE, [refused[0][0]])
    eventually(lambda: centre.deliveries_in("purged") == 1, "released")
    centre.say_custody(CustodyState.ARCHIVED, refused[1:2])
    eventually(lambda: centre.deliveries_in("purged") == 2, "redriven and archived")


def test_a_republish_request_is_obeyed_once_and_reported(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    first, second = modality.store_study(STUDY, 2)
    process = start_forwarder(north_settings)
    eventually(lambda: len(centre.received()) == 2, "published")
    offset = centre.request(RequestKind.REPUBLISH, [second])
    eventually(lambda: len(centre.received()) == 3, "published again")
    assert centre.received()[-1].delivery_id == second
    failing = centre.request(RequestKind.REPUBLISH, ["no-such-delivery", first])
    refused = centre.request(RequestKind.RELEASE, [first])
    eventually(lambda: len(centre.received()) == 4, "the one that is known")
    state = centre.await_state(lambda state: len(state.requests_failed) == 2, "reported")
    assert [item.offset for item in state.requests_failed] == [failing, refused]
    assert state.requests_failed[0].reason == "republish: 1 unknown"
    assert state.requests_failed[1].reason == "release: 1 not archived"
    assert state.requests_done[0].offset == refused + 1 > offset
    # A new start obeys none of them again.
    assert process.stop() == 0
    count = len(centre.states())
    start_forwarder(north_settings)
    eventually(lambda: len(centre.states()) > count + 2, "started again")
    assert len(centre.received()) == 4
    assert centre.states()[-1].requests_done == state.requests_done
    assert centre.states()[-1].requests_failed == state.requests_failed


def test_what_stays_unarchived_for_half_the_payload_retention_goes_again(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    modality.store_study(STUDY, 2)
    process = start_forwarder(north_settings)
    eventually(lambda: len(centre.received()) == 2, "published")
    centre.say_custody(CustodyState.ARCHIVED, archived(centre.received()[:1]))
    eventually(lambda: centre.deliveries_in("archived") == 1, "archived")
    assert process.stop() == 0
    # Two seconds are over when it is said that half of the retention is over.
    start_forwarder(forwarder_settings(north_settings, kafka={"payload_retention_ms": 4_000}))
    eventually(lambda: len(centre.received()) >= 3, "published again")
    assert {event.delivery_id for event in centre.received()[2:]} == {modality.order[1]}
