"""Usage: totals from facts, told after the minute and again when late facts change them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from consumers.spec import Record
from consumers.usage_analytics import ROUND_INTERVAL_S, UsageAnalytics, closed_until
from contracts.events import Event, InstanceReceived, UsageInterval
from contracts.failures import RetryableError
from infra.connect import Engines, connect
from infra.migrate import migrate
from infra.seams import PendingPublication
from infra.settings import Settings
from infra.telemetry import Metrics
from tests.consumers.bus import ACKNOWLEDGE_S, Bus, bus_of
from tests.consumers.index_database import empty_all
from tests.consumers.index_events import NOON, archived, content, header, receipt, received
from tests.engines import isolated_settings

LONG_AGO = timedelta(days=40)


@dataclass
class HandClock:
    """A clock that a test sets."""

    at: datetime
    seconds: float = 0.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        self.seconds += ROUND_INTERVAL_S
        return self.seconds

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        return stop.is_set()


@dataclass
class LosingPublisher:
    """Publishes, but no acknowledgement of it arrives."""

    inner: Any

    def publish_event(self, event: Event, key: bytes, event_id: str) -> PendingPublication:
        self.inner.publish_event(event, key, event_id).result(ACKNOWLEDGE_S)
        raise RetryableError("publishing: acknowledgement lost")


@dataclass
class World:
    """A writer, its database, its topic."""

    engines: Engines
    clock: HandClock
    bus: Bus
    site: str

    def writer(self) -> UsageAnalytics:
        return UsageAnalytics(replace(self.engines, clock=self.clock))

    def published(self) -> list[UsageInterval]:
        """This site's, in the order of their computation."""
        mine = [i for i in self.bus.events(UsageInterval) if i.site == self.site]
        return sorted(mine, key=lambda interval: interval.computed_at)

    def usage(self) -> list[dict[str, Any]]:
        return self.engines.primary.database.query("SELECT * FROM usage ORDER BY ALL")

    def received(self, instance: int, **changes: Any) -> InstanceReceived:
        return received(content(instance), instance, site=self.site, **changes)


@pytest.fixture(scope="module")
def shared(
    engines: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Engines, Bus]]:
    """Topics and tables are made once: each test has a site of its own."""
    settings = isolated_settings(engines, tmp_path_factory.mktemp("usage"))
    migrate(settings.primary.clickhouse)
    with bus_of(settings.kafka) as bus:
        connected = connect(settings, "usage-analytics", Metrics())
        yield connected, bus
        connected.close()
    database = connected.primary.database
    database.command(f"DROP DATABASE {database.name}")


@pytest.fixture
def world(shared: tuple[Engines, Bus]) -> World:
    engines, bus = shared
    empty_all(engines.primary.database)
    clock = HandClock(NOON + timedelta(minutes=30))
    return World(engines, clock, bus, f"site-{uuid.uuid4()}")


def write(writer: UsageAnalytics, *events: Event) -> None:
    records = [Record(event, "topic", 0, offset) for offset, event in enumerate(events)]
    assert writer.write(records) == []


def counts(interval: UsageInterval) -> tuple[str, int, int, int, int]:
    return (
        interval.modality,
        interval.deliveries,
        interval.size_bytes,
        interval.archived_deliveries,
        interval.associations,
    )


def rounds(writer: UsageAnalytics, number: int = 3) -> None:
    for _ in range(number):
        writer.tick()


def test_a_minute_is_told_once_with_its_facts(world: World) -> None:
    one = content(1)
    page = replace(receipt([(1, one, 0), (3, content(3), 0)]), site=world.site)
    writer = world.writer()
    write(writer, archived([(one, 1)]), page)
    write(writer, world.received(1), world.received(2, association_id="association-2"))
    write(writer, world.received(1), archived([(one, 1)]))
    rounds(writer)
    (interval,) = world.published()
    assert interval.minute == NOON
    assert (interval.site, interval.calling_ae_title) == (world.site, "CT1")
    assert counts(interval) == ("CT", 2, 1_050_000, 1, 2)
    (row,) = world.usage()
    assert (row["deliveries"], row["minute"]) == (2, NOON)


def test_a_minute_is_not_told_before_it_has_settled(world: World) -> None:
    world.clock.at = NOON + timedelta(minutes=1, seconds=59)
    writer = world.writer()
    write(writer, world.received(1))
    rounds(writer)
    assert world.published() == []
    world.clock.at = NOON + timedelta(minutes=2)
    rounds(writer)
    assert len(world.published()) == 1


def test_late_facts_are_told_again(world: World) -> None:
    writer = world.writer()
    write(writer, world.received(1))
    rounds(writer)
    world.clock.at += LONG_AGO
    write(writer, archived([(content(1), 1)]))
    write(writer, world.received(2))
    rounds(writer)
    assert [counts(i)[1:4:2] for i in world.published()] == [(1, 0), (2, 1)]
    (row,) = world.usage()
    assert (row["deliveries"], row["archived_deliveries"]) == (2, 1)


def test_facts_of_a_dead_process_are_told_by_the_next(world: World) -> None:
    write(world.writer(), world.received(1))
    world.clock.at += LONG_AGO
    rounds(world.writer())
    assert len(world.published()) == 1


def test_a_lost_acknowledgement_is_told_again(world: World) -> None:
    losing: Any = LosingPublisher(world.engines.publisher)
    writer = UsageAnalytics(replace(world.engines, publisher=losing, clock=world.clock))
    write(writer, world.received(1))
    with pytest.raises(RetryableError):
        writer.tick()
    assert world.usage() == []
    rounds(world.writer())
    assert len(world.published()) == 2 and len(world.usage()) == 1
    rounds(world.writer())
    assert len(world.published()) == 2


def test_a_newer_scan_moves_the_totals_to_its_modality(world: World) -> None:
    writer = world.writer()
    write(writer, world.received(1))
    rounds(writer)
    again = world.received(1, scanner_version=2, header=header(x00080060=["MR"]))
    write(writer, again)
    rounds(writer)
    assert sorted(counts(i)[:2] for i in world.published()) == [("CT", 0), ("CT", 1), ("MR", 1)]
    assert [row["modality"] for row in world.usage()] == ["MR"]


def test_a_clock_set_back_does_not_keep_old_totals(world: World) -> None:
    writer = world.writer()
    write(writer, world.received(1))
    rounds(writer)
    world.clock.at -= timedelta(minutes=20)
    write(writer, world.received(2))
    rounds(writer)
    assert [i.deliveries for i in world.published()] == [1, 2]
    assert [row["deliveries"] for row in world.usage()] == [2]
    rounds(writer)
    assert len(world.published()) == 2, "and is not told for ever"


def test_an_outage_skips_no_minute(world: World) -> None:
    world.clock.at = NOON + timedelta(seconds=30)
    writer = world.writer()
    write(writer, world.received(1))
    rounds(writer)
    world.clock.at = NOON + timedelta(hours=9)
    rounds(writer)
    assert len(world.published()) == 1


def test_an_event_against_its_contract_is_refused_alone(world: World) -> None:
    bad = world.received(1, delivery_id="")
    records: list[Record[Any]] = [
        Record(bad, "topic", 0, 0),
        Record(world.received(2), "topic", 0, 1),
    ]
    (rejection,) = world.writer().write(records)
    assert rejection.record.offset == 0 and rejection.detail == "delivery_id is empty"
    rounds(world.writer())
    assert [i.deliveries for i in world.published()] == [1]


def test_a_minute_closes_sixty_seconds_after_its_end() -> None:
    assert closed_until(NOON + timedelta(seconds=119)) == NOON
    assert closed_until(NOON + timedelta(seconds=120)) == NOON + timedelta(minutes=1)
