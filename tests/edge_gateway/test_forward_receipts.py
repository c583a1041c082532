"""Receipts: every answer is told once in its page, and the state proves when all are told."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial

from contracts.events import AssociationReceipt, StatusTotal
from infra.settings import Settings
from tests.edge_gateway.centre_side import Centre, deliveries_in
from tests.edge_gateway.forwarding import ForwarderProcess, eventually, forwarder_settings
from tests.edge_gateway.gateway_fixtures import (
    StartForwarder,
    centre,
    modality,
    north_settings,
    start_forwarder,
)
from tests.edge_gateway.modality import Modality, open_modality
from tests.edge_gateway.spool.workload import copy_as_killed

__all__ = ["centre", "modality", "north_settings", "start_forwarder"]
STUDY = "1.2.826.0.1.3680043.8.498.300"


def is_connected(process: ForwarderProcess) -> bool:
    return process.metric("hilum_ready") > 0


def pages_of(centre: Centre, association_id: str) -> list[AssociationReceipt]:
    """Its pages in order, repeats (which must be equal) taken once."""
    pages: dict[int, AssociationReceipt] = {}
    for page in centre.receipts():
        if page.association_id == association_id:
            assert pages.setdefault(page.page_index, page) == page
    return [pages[index] for index in sorted(pages)]


def test_pages_hold_every_answer_and_the_last_one_the_totals(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    association_id = modality.associate()
    delivery = modality.store(association_id, STUDY)
    for number in range(2_200):
        modality.answer(delivery, 0xA700 if number % 10 == 0 else 0)
    modality.release(association_id)
    start_forwarder(north_settings)
    eventually(lambda: any(page.ended for page in centre.receipts()), "the last page")
    pages = pages_of(centre, association_id)
    assert [len(page.entries) for page in pages] == [1_000, 1_000, 201]
    assert [page.page_index for page in pages] == [0, 1, 2]
    assert [page.ended for page in pages] == [None, None, "released"]
    assert pages[-1].totals == (StatusTotal(0, 1_981), StatusTotal(0xA700, 220))
    assert pages[0].calling_ae_title == "MODALITY"
    first = pages[0].entries[0]
    assert (first.delivery_id, first.status) == (delivery.delivery_id, 0)
    assert first.content_sha256 == delivery.content_sha256


def test_an_association_that_stays_open_is_told_in_pages_by_age(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    settings = forwarder_settings(north_settings, receipt_page_age_s=1.0)
    start_forwarder(settings)
    association_id = modality.associate()
    modality.store(association_id, STUDY)
    eventually(lambda: len(pages_of(centre, association_id)) == 1, "the first page")
    modality.store(association_id, STUDY)
    eventually(lambda: len(pages_of(centre, association_id)) == 2, "the second page")
    modality.release(association_id)
    eventually(lambda: len(pages_of(centre, association_id)) == 3, "the last page")
    pages = pages_of(centre, association_id)
    told = [entry.delivery_id for page in pages for entry in page.entries]
    assert told == modality.order
    assert [page.ended for page in pages] == [None, None, "released"]


def test_after_a_crash_of_the_receiver_totals_are_right_and_it_says_gateway_lost(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    association_id = modality.associate()
    for _ in range(3):
        modality.store(association_id, STUDY)
    last = modality.store_bytes(association_id, "1.2.3.9", b"")  # answered or not: nobody knows
    directory = north_settings.gateways["north"].spool.directory
    copy = copy_as_killed(modality.spool, directory, directory.with_name("spool-after-crash"))
    settings = forwarder_settings(north_settings, spool={"directory": str(copy)})
    again = open_modality(settings)
    start_forwarder(settings)
    eventually(lambda: any(page.ended for page in centre.receipts()), "the last page")
    pages = pages_of(centre, association_id)
    entries = [entry for page in pages for entry in page.entries]
    assert {entry.delivery_id for entry in entries} == {*modality.order}
    assert last.delivery_id in {entry.delivery_id for entry in entries}
    assert pages[-1].ended == "gateway_lost"
    assert pages[-1].totals == (StatusTotal(0, 4),)
    again.spool.close()


def test_a_killed_forwarder_tells_every_receipt_and_repeats_equal_pages(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    associations = []
    for number in range(30):
        association_id = modality.associate()
        associations.append(association_id)
        for _ in range(5):
            modality.store(association_id, f"{STUDY}.{number}")
        modality.release(association_id)
    for _ in range(3):
        process = start_forwarder(north_settings)
        eventually(partial(is_connected, process), "connected", 0.001)
        process.kill()
    start_forwarder(north_settings)
    eventually(
        lambda: len({p.association_id for p in centre.receipts() if p.ended}) == 30, "all ended"
    )
    told = [
        entry.delivery_id
        for association_id in associations
        for page in pages_of(centre, association_id)
        for entry in page.entries
    ]
    assert told == modality.order


def test_a_state_newer_than_an_answer_counts_it_until_it_is_told(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    # A page by its age comes after a minute; what is answered is told when the association ends.
    start_forwarder(north_settings)
    eventually(lambda: bool(centre.states()), "a first state")
    association_id = modality.associate()
    # Durable, and its receipt is still to come: it counts as not told.
    delivery = modality.store_bytes(association_id, "1.2.3.7", b"")
    durable_at = datetime.now(UTC)
    state = centre.await_state(lambda state: state.at > durable_at, "a newer state")
    assert state.receipts_unpublished == 1
    modality.answer(delivery)
    answered_at = datetime.now(UTC)
    state = centre.await_state(lambda state: state.at > answered_at, "a newer state")
    assert state.receipts_unpublished == 1
    oldest_at = state.oldest_receipt_unpublished_at
    assert oldest_at is not None and oldest_at <= answered_at
    modality.release(association_id)
    eventually(lambda: centre.states()[-1].receipts_unpublished == 0, "told")
    assert [entry.delivery_id for page in centre.receipts() for entry in page.entries] == [
        delivery.delivery_id
    ]


def test_states_come_at_their_interval_and_say_what_the_spool_holds(
    north_settings: Settings, modality: Modality, centre: Centre, start_forwarder: StartForwarder
) -> None:
    started = time.monotonic()
    modality.store_study(STUDY, 4)
    start_forwarder(north_settings)
    last = centre.await_state(
        lambda state: deliveries_in(state, "published") == 4 and state.is_publishing, "published"
    )
    eventually(lambda: len(centre.states()) > 3, "more states")
    states = centre.states()
    assert len(states) <= (time.monotonic() - started) / 0.5 + 1
    assert len({state.boot_id for state in states}) == 1
    assert [state.at for state in states] == sorted(state.at for state in states)
    assert last.reason == "publishing"
    assert (last.site, last.gateway_name) == ("north", "north")
    assert last.spool_bytes >= 1024 * 1024 and last.disk_free_bytes > 0
    assert last.window_bytes == sum(len(data) for data in modality.stored.values())
