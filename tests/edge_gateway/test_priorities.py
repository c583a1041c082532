"""Who goes first: rules, ageing, and that a ledger of former times takes part."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contracts.modalities import MODALITY_OF_CLASS, modality_of
from edge_gateway.delivery_queue import QUEUE_MAX, RANK_AGAIN_S, DeliveryQueue
from edge_gateway.priorities import Priorities
from edge_gateway.priority_view import PriorityView
from edge_gateway.progress import Progress
from edge_gateway.progress_rows import NewDelivery
from edge_gateway.spool import RecordLocation
from infra.settings_forwarding import PriorityRule
from tests.edge_gateway.test_bandwidth import HandClock

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
STEP = timedelta(seconds=60)
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture
def progress(tmp_path: Path) -> Iterator[Progress]:
    ledger = Progress(tmp_path / "progress.sqlite", "gateway-1")
    yield ledger
    ledger.close()


def add(progress: Progress, sequence: int, priority: int, at_s: float = 0.0) -> str:
    delivery_id = f"d{sequence}"
    progress.add(
        NewDelivery(
            delivery_id=delivery_id,
            association_id="association-1",
            location=RecordLocation(1, 1, 4096, sequence),
            facts=None,
            sop_class_uid=CT,
            sop_instance_uid=f"1.2.3.{sequence}",
            content_sha256="0" * 64,
            size_bytes=100,
            received_at=NOW + timedelta(seconds=at_s),
            priority=priority,
        )
    )
    return delivery_id


def order(progress: Progress, without: set[str] | None = None) -> list[str]:
    view = PriorityView(progress.connection, STEP)
    found = view.next_spooled(100, NOW + timedelta(days=1), without or set())
    return [entry.delivery_id for entry in found]


def rule(calling: str, modality: str | None, priority: int) -> PriorityRule:
    return PriorityRule(calling_ae_title=calling, modality=modality, priority=priority)


def test_the_first_rule_that_fits_decides() -> None:
    rules = (rule("TRAUMA", None, 1), rule("*", "CT", 3), rule("ROUTER", None, 9))
    priorities = Priorities(rules)
    assert priorities.of("TRAUMA", MR) == 1
    assert priorities.of("ROUTER", CT) == 3
    assert priorities.of("ROUTER", MR) == 9
    assert priorities.of("OTHER", MR) == priorities.of("OTHER", "1.2.3") == 5


def test_a_class_tells_one_modality_or_none() -> None:
    assert (modality_of(CT), modality_of("1.2.840.10008.5.1.4.1.1.7")) == ("CT", "")
    assert len(set(MODALITY_OF_CLASS.values())) == 18


def test_urgent_goes_first_and_equals_keep_the_order_of_acceptance(progress: Progress) -> None:
    for sequence, priority in enumerate((5, 9, 1, 5, 1, 9)):
        add(progress, sequence, priority, -sequence / 1000)  # a clock that was set back
    assert order(progress) == ["d2", "d4", "d0", "d3", "d1", "d5"]
    assert order(progress, {"d2", "d0"}) == ["d4", "d3", "d1", "d5"]


def test_nothing_starves_under_a_stream_of_urgent_ones(progress: Progress) -> None:
    """One urgent delivery a second arrives and one is sent a second."""
    add(progress, 0, 9)
    sent_after = None
    for second in range(1, 1000):
        add(progress, second, 1, second)
        first = order(progress)[0]
        progress.publish([(first, NOW)], "log")
        if first == "d0":
            sent_after = second
            break
    assert sent_after is not None and 480 <= sent_after <= 482  # 8 priorities of 60 s


def test_an_urgent_arrival_overtakes_a_queue_that_is_full(progress: Progress) -> None:
    clock = HandClock(NOW + timedelta(days=1))
    queue = DeliveryQueue(progress, clock, PriorityView(progress.connection, STEP))
    for sequence in range(QUEUE_MAX + 50):
        add(progress, sequence, 5)
    first = queue.front(set)
    assert first is not None and first.delivery_id == "d0"
    urgent = add(progress, 9_999, 1, 3.0)
    clock.advance(RANK_AGAIN_S)
    second = queue.front(lambda: {"d0"})
    assert second is not None and second.delivery_id == urgent


def test_a_ledger_of_former_times_gets_the_column_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "progress.sqlite"
    ledger = Progress(path, "gateway-1")
    add(ledger, 1, 5)
    ledger.close()
    with sqlite3.connect(path) as former:
        former.execute("ALTER TABLE delivery DROP COLUMN priority")
    ledger = Progress(path, "gateway-1")
    add(ledger, 2, 1)
    assert order(ledger) == ["d2", "d1"]
    ledger.close()
