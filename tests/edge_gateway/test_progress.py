"""The forwarder's ledger by itself: states, pages, totals, and who is the younger twin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contracts.events import ReceiptEntry, StateTotal, StatusTotal
from edge_gateway.progress import Progress
from edge_gateway.progress_receipts import AssociationFacts, ReceiptLedger
from edge_gateway.progress_rows import DeliveryState, NewDelivery
from edge_gateway.spool import RecordLocation
from edge_gateway.twin import TwinWatch

NOW = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
# A generation needs all 64 bits, more than SQLite's integers have.
GENERATION = (1 << 64) - 1


@pytest.fixture
def progress(tmp_path: Path) -> Progress:
    return Progress(tmp_path / "progress.sqlite", "gateway-1")


def new(delivery_id: str, sequence: int, segment: int = 1, size_bytes: int = 100) -> NewDelivery:
    return NewDelivery(
        delivery_id=delivery_id,
        association_id="association-1",
        location=RecordLocation(segment, GENERATION, 4096, sequence),
        facts=None,
        sop_class_uid="1.2.3",
        sop_instance_uid=f"1.2.3.{sequence}",
        content_sha256="0" * 64,
        size_bytes=size_bytes,
        received_at=NOW + timedelta(seconds=sequence),
    )


def in_state(progress: Progress, state: str) -> StateTotal:
    return next(total for total in progress.totals() if total.state == state)


def state_of(progress: Progress, delivery_id: str) -> str:
    found = progress.find(delivery_id)
    assert found is not None
    return found.state.value


def test_totals_follow_every_transition(progress: Progress) -> None:
    for sequence in range(4):
        progress.add(new(f"d{sequence}", sequence))
    progress.add(new("d0", 0))  # read again after a crash: counted once
    progress.publish([("d0", NOW), ("d1", NOW)], "log-1")
    progress.resolve("d1", DeliveryState.ARCHIVED, NOW, NOW)
    progress.refuse("d2")
    assert in_state(progress, "spooled") == StateTotal("spooled", 1, 100)
    assert progress.window_bytes() == 100
    progress.purge(["d1"], NOW)
    assert in_state(progress, "purged").deliveries == 1
    assert progress.forget_purged(timedelta(days=1), NOW + timedelta(days=2), 10) == 1
    assert sum(total.deliveries for total in progress.totals()) == 3


def test_custody_is_never_taken_back_by_what_comes_late(progress: Progress) -> None:
    progress.add(new("d0", 0))
    progress.resolve("d0", DeliveryState.ARCHIVED, NOW, NOW)
    progress.publish([("d0", NOW)], "log-1")  # the acknowledgement came after the custody
    progress.refuse("d0")
    assert state_of(progress, "d0") == "archived"
    progress.purge(["d0"], NOW)
    progress.resolve("d0", DeliveryState.ARCHIVED, NOW, NOW)
    assert not progress.spool_again("d0")
    assert state_of(progress, "d0") == "purged"


def test_the_way_back_to_spooled(progress: Progress) -> None:
    for sequence in range(4):
        progress.add(new(f"d{sequence}", sequence))
        at = NOW + timedelta(hours=sequence)
        progress.publish([(f"d{sequence}", at)], f"log-{sequence % 2}")
    progress.refuse("d3")
    assert progress.spool_again_unless_at("log-1") == 2
    assert progress.spool_again_published_before(NOW + timedelta(hours=2)) == 1
    spooled = progress.next_spooled(10, NOW, without=())
    assert [entry.delivery_id for entry in spooled] == ["d0", "d1", "d2"]
    assert state_of(progress, "d3") == "refused"


def test_the_next_ones_come_in_order_of_acceptance_less_those_in_hand_or_set_aside(
    progress: Progress,
) -> None:
    for sequence in (5, 3, 9, 1):
        progress.add(new(f"d{sequence}", sequence))
    progress.set_aside("d3", NOW + timedelta(minutes=1), "rotten")
    found = progress.next_spooled(2, NOW, without={"d1"})
    assert [entry.delivery_id for entry in found] == ["d5", "d9"]
    assert found[0].location == RecordLocation(1, GENERATION, 4096, 5)
    later = progress.next_spooled(1, NOW + timedelta(minutes=2), without={"d1"})
    assert [entry.delivery_id for entry in later] == ["d3"]
    assert progress.problems(5) == [("d3", "rotten")]


def test_what_was_committed_survives_and_the_rest_is_repeated(tmp_path: Path) -> None:
    path = tmp_path / "progress.sqlite"
    first = Progress(path, "gateway-1")
    first.add(new("d0", 0))
    first.set_note("spool_position", "[1, 5000]")
    first.commit()
    first.add(new("d1", 1))
    first.set_note("spool_position", "[1, 6000]")
    first.connection.rollback()  # what a kill does
    first.close()
    again = Progress(path, "gateway-1")
    assert again.note("spool_position") == "[1, 5000]"
    assert again.find("d0") is not None and again.find("d1") is None


def test_a_ledger_of_another_gateway_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "progress.sqlite"
    first = Progress(path, "gateway-1")
    first.add(new("d0", 0))
    first.close()
    other = Progress(path, "gateway-2")
    assert other.find("d0") is None
    assert path.with_suffix(".other-gateway").exists()


def facts() -> AssociationFacts:
    return AssociationFacts("association-1", "MODALITY", "NORTH", "127.0.0.1", NOW)


def receipt(number: int, seconds: float) -> ReceiptEntry:
    at = NOW + timedelta(seconds=seconds)
    return ReceiptEntry(f"d{number}", f"1.2.3.{number}", "0" * 64, 0, at)


def test_a_page_ends_where_the_receipts_say_whenever_it_is_made(progress: Progress) -> None:
    ledger = ReceiptLedger(progress.connection)
    ledger.open_association(facts(), 1)
    minute = timedelta(seconds=60)
    for number, seconds in enumerate((0, 10, 59, 61, 70)):
        ledger.add("association-1", 1, receipt(number, seconds))
    first = ledger.next_page("association-1", 1_000, minute)
    assert first is not None and first.is_full and first.page_index == 0
    assert [entry.delivery_id for entry in first.entries] == ["d0", "d1", "d2"]
    assert ledger.next_page("association-1", 1_000, minute) == first  # the repeat is the same
    ledger.page_published(first)
    by_count = ledger.next_page("association-1", 1, minute)
    assert by_count is not None and by_count.is_full and len(by_count.entries) == 1
    rest = ledger.next_page("association-1", 1_000, minute)
    assert rest is not None and not rest.is_full and rest.ended is None
    ledger.close_association("association-1", "released", (StatusTotal(0, 5),), 2)
    last = ledger.next_page("association-1", 1_000, minute)
    assert last is not None and (last.page_index, last.ended) == (1, "released")
    assert last.totals == (StatusTotal(0, 5),)
    assert ledger.unpublished() == 2 and ledger.has_ends_in(2) and ledger.has_receipts_in(1)
    ledger.page_published(last)
    assert ledger.unpublished() == 0 and not ledger.has_ends_in(1)
    assert not ledger.has_receipts_in(1) and ledger.closed(10) == []


def test_a_full_page_is_told_by_count_and_by_age_without_being_made(progress: Progress) -> None:
    ledger = ReceiptLedger(progress.connection)
    minute = timedelta(seconds=60)
    assert not ledger.has_full_page("association-1", 1, minute)
    ledger.add("association-1", 1, receipt(0, 0))
    assert not ledger.has_full_page("association-1", 1, minute)
    ledger.add("association-1", 1, receipt(1, 59))
    assert ledger.has_full_page("association-1", 1, minute)
    assert not ledger.has_full_page("association-1", 2, minute)
    ledger.add("association-1", 1, receipt(2, 60))
    assert ledger.has_full_page("association-1", 1_000, minute)


def test_an_association_that_ended_may_be_opened_again(progress: Progress) -> None:
    ledger = ReceiptLedger(progress.connection)
    for _ in range(2):
        ledger.open_association(facts(), 1)
        ledger.close_association("association-1", "released", (), 1)
        page = ledger.next_page("association-1", 1_000, timedelta(seconds=60))
        assert page is not None
        ledger.page_published(page)
        assert ledger.closed(10) == []


def test_the_ledger_says_what_changed_and_the_window_follows(progress: Progress) -> None:
    before = progress.spooled_changes
    progress.add(new("d0", 0))
    assert progress.spooled_changes > before
    assert progress.window_bytes() == 0
    progress.publish([("d0", NOW)], "log-1")
    assert progress.window_bytes() == 100
    others = progress.other_changes
    progress.spool_again("d0")
    assert progress.other_changes > others and progress.window_bytes() == 0
    progress.publish([("d0", NOW)], "log-1")
    progress.resolve("d0", DeliveryState.ARCHIVED, NOW, NOW)
    assert progress.window_bytes() == 0


def test_an_association_without_answers_ends_with_an_empty_page(progress: Progress) -> None:
    ledger = ReceiptLedger(progress.connection)
    ledger.open_association(facts(), 1)
    assert ledger.next_page("association-1", 1_000, timedelta(seconds=60)) is None
    ledger.close_association("association-1", "aborted", (), 1)
    page = ledger.next_page("association-1", 1_000, timedelta(seconds=60))
    assert page is not None and page.entries == () and page.ended == "aborted"


def test_a_durable_delivery_counts_as_untold_until_its_receipt_is(progress: Progress) -> None:
    ledger = ReceiptLedger(progress.connection)
    ledger.open_association(facts(), 1)
    progress.add(new("d0", 0))
    assert ledger.unpublished() == 1
    ledger.add("association-1", 1, receipt(0, 0))
    assert ledger.unpublished() == 1
    progress.add(new("d1", 1))
    ledger.close_association("association-1", "gateway_lost", (), 1)
    assert ledger.unpublished() == 1


@pytest.mark.parametrize(
    ("history", "is_younger"),
    [
        (["me", "me"], False),
        (["before", "me"], False),  # my predecessor
        (["before", "me", "before", "me"], False),  # its last record, late on its way
        (["elder", "me", "elder", "elder"], True),
        (["me", "younger", "younger", "me"], False),
        (["gone", "elder", "me", "younger", "elder", "younger", "elder"], True),
    ],
)
def test_only_the_younger_of_two_living_twins_is_too_many(
    history: list[str], is_younger: bool
) -> None:
    twin = TwinWatch("me")
    for offset, boot_id in enumerate(history):
        twin.see(boot_id, offset)
    assert bool(twin.elder_alive) == is_younger
    twin.restart()
    assert not twin.elder_alive
