"""The consumer around the index: what it refuses, and that every example is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consumers.index_input import ROW_BYTES, fault_of, size_bytes
from consumers.metadata_index import SPEC
from consumers.spec import Record
from contracts.events import AssociationReceipt, Event, InstanceReceived, PackArchived
from contracts.example_catalog import examples_of
from contracts.failures import Reason
from infra.clickhouse import ClickHouseDatabase
from infra.connect import connect
from infra.settings import Settings
from infra.telemetry import Metrics
from tests.consumers.index_database import rows
from tests.consumers.index_events import archived, content, delivery_id, receipt, received

KEY = content(1)
FAULTY: list[tuple[Event, str]] = [
    (received(KEY, delivery_id=""), "delivery_id is empty"),
    (received(replace(KEY, content_sha256="A" * 64)), "content_sha256 is no sha256"),
    (received(replace(KEY, study_instance_uid="1.2/3")), "study_instance_uid is neither"),
    (received(KEY, size_bytes=-1), "size_bytes is negative"),
    (archived([(replace(KEY, series_instance_uid="x"), 1)]), "series_instance_uid is neither"),
    (replace(archived([(KEY, 1)]), object_key=""), "object_key is empty"),
    (receipt([(1, KEY, 0x10000)]), "status is no DIMSE status"),
    (replace(receipt([]), page_index=-1), "page_index is negative"),
]


@pytest.mark.parametrize(("event", "fault"), FAULTY)
def test_an_event_against_its_contract_has_a_named_fault(event: Event, fault: str) -> None:
    assert (fault_of(event) or "").startswith(fault)


def test_the_contracts_examples_have_no_fault() -> None:
    for event_type in SPEC.inputs.values():
        for event in examples_of(event_type):
            assert fault_of(event) is None


def test_a_record_counts_what_it_becomes() -> None:
    members = [(content(number), number) for number in range(1, 11)]
    assert size_bytes(archived(members)) == 11 * ROW_BYTES
    assert size_bytes(receipt([(n, key, 0) for key, n in members])) == 11 * ROW_BYTES
    assert size_bytes(received(KEY)) > 2 * len(received(KEY).header)


def test_faulty_records_are_refused_and_the_others_written(
    index_settings: Settings, database: ClickHouseDatabase, tmp_path: Path
) -> None:
    engines = connect(index_settings, "metadata-index", Metrics())
    writer = SPEC.build(engines)
    events = [event for event, _ in FAULTY] + [received(content(2), 2), archived([(content(2), 2)])]
    batch: list[Record[Any]] = [
        Record(event, "t", 0, offset) for offset, event in enumerate(events)
    ]
    rejections = writer.write(batch)
    writer.tick()
    writer.close()
    engines.close()
    assert [rejection.record.offset for rejection in rejections] == list(range(len(FAULTY)))
    assert {rejection.reason for rejection in rejections} == {Reason.INVALID_FIELD}
    assert [row["delivery_id"] for row in rows(database, "deliveries")] == [delivery_id(2)]
    assert len(rows(database, "instances")) == 1


def test_every_example_is_told(index_settings: Settings, database: ClickHouseDatabase) -> None:
    engines = connect(index_settings, "metadata-index", Metrics())
    writer = SPEC.build(engines)
    events = [event for event_type in SPEC.inputs.values() for event in examples_of(event_type)]
    batch: list[Record[Any]] = [
        Record(event, "t", 0, offset) for offset, event in enumerate(events)
    ]
    assert writer.write(batch) == []
    engines.close()
    ids = {event.delivery_id for event in events if isinstance(event, InstanceReceived)}
    for event in events:
        if isinstance(event, PackArchived):
            ids |= {member.delivery_id for member in event.members}
        if isinstance(event, AssociationReceipt):
            ids |= {entry.delivery_id for entry in event.entries if entry.delivery_id}
    assert ids <= {row["delivery_id"] for row in rows(database, "deliveries")}
