"""Builds a process's seams from its settings.

Invariant: building needs no engine to be up; each connects at first use, so that whatever is down
is an ordinary retryable failure later. Nothing is ever written into a bucket that is not marked as
that site's archive. Must not hold any logic of its own.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from contracts.envelope import Origin
from infra.broker import KafkaPublisher
from infra.clickhouse import ClickHouseDatabase
from infra.clock import Clock, SystemClock
from infra.object_store import S3ObjectStore
from infra.payload_reader import KafkaPayloadReader
from infra.provision_bucket import require_marker
from infra.seams import PayloadReader, Publisher, StoreSite
from infra.settings import Settings, SiteSettings
from infra.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Engines:
    """Everything outside a process that its code may touch, as seams."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    primary: StoreSite
    dr: StoreSite
    publisher: Publisher
    payload_reader: PayloadReader
    scratch_directory: Path

    def close(self) -> None:
        """Gives up what is not acknowledged and releases the connections; 10 s at most."""
        self.publisher.close()
        self.payload_reader.close()


def connect(settings: Settings, process_name: str, metrics: Metrics) -> Engines:
    """The seams of one process (`object-archive`, …), none of them connected yet.

    Its scratch directory exists on return and is its own.
    """
    clock = SystemClock()
    origin = Origin(source=f"/hilum/{settings.primary.name}/{process_name}")
    scratch_root = settings.scratch_directory or Path(tempfile.gettempdir()) / "hilum-scratch"
    scratch_directory = scratch_root / process_name
    scratch_directory.mkdir(parents=True, exist_ok=True)
    return Engines(
        settings=settings,
        clock=clock,
        metrics=metrics,
        primary=_site(settings.primary),
        dr=_site(settings.dr),
        publisher=KafkaPublisher(settings.kafka, origin, clock),
        payload_reader=KafkaPayloadReader(settings.kafka),
        scratch_directory=scratch_directory,
    )


def _site(site: SiteSettings) -> StoreSite:
    return StoreSite(
        name=site.name,
        # Not at the start: whatever is down then must not keep a process from starting.
        object_store=S3ObjectStore(site.object_store, lambda store: require_marker(store, site)),
        database=ClickHouseDatabase(site.clickhouse),
    )
