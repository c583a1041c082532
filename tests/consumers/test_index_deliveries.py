"""What the index tells beside instances: conflicts, deliveries, quarantine, receipts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from contracts.events import Area, Event
from infra.clickhouse import ClickHouseDatabase
from tests.consumers.index_database import rows, write
from tests.consumers.index_events import (
    NOON,
    archived,
    content,
    delivery_id,
    header,
    receipt,
    received,
    replicated,
)


def test_the_kind_of_a_conflict_follows_from_the_events(database: ClickHouseDatabase) -> None:
    other = {"header": header(x00080060=["MR"])}
    cases: dict[str, tuple[int, list[dict[str, Any]]]] = {
        "equal headers": (1, [{}, {}]),
        "other length": (2, [{}, {"header": header(pixels=10)}]),
        "other header": (3, [{}, other]),
        "other encoding": (4, [{}, {"transfer_syntax_uid": "1.2.840.10008.1.2.4.90"}]),
        "both": (5, [{}, {"transfer_syntax_uid": "1.2.840.10008.1.2.4.90"}, other]),
    }
    for instance, versions in cases.values():
        for version, changes in enumerate(versions):
            delivery = instance * 16 + version
            write(database, received(content(instance, version), delivery, **changes))
    told = {row["sop_instance_uid"]: row["kind"] for row in rows(database, "conflicts")}
    assert [told[content(instance).sop_instance_uid] for instance, _ in cases.values()] == [
        "other_pixels",
        "other_pixels",
        "other_header",
        "other_encoding",
        "other_header",
    ]


def test_a_conflict_keeps_both_contents(database: ClickHouseDatabase) -> None:
    one, two = content(1), content(1, version=1)
    write(database, received(one, 1), received(two, 2), archived([(one, 1), (two, 2)]))
    assert {row["content_sha256"] for row in rows(database, "instances")} == {
        one.content_sha256,
        two.content_sha256,
    }
    (row,) = rows(database, "conflicts")
    assert row["contents"] == 2
    assert sorted(row["content_sha256s"]) == sorted([one.content_sha256, two.content_sha256])
    (study,) = rows(database, "studies")
    assert (study["instances"], study["sop_instances"]) == (2, 1)


def test_a_sop_instance_in_two_studies_is_a_conflict(database: ClickHouseDatabase) -> None:
    one = content(1)
    two = type(one)(
        content(1, study=2).study_instance_uid, "2.25.2", one.sop_instance_uid, "b" * 64
    )
    write(database, received(one, 1))
    write(database, received(two, 2))
    (row,) = rows(database, "conflicts")
    assert len(row["study_instance_uids"]) == 2


def test_quarantined_deliveries_are_apart(database: ClickHouseDatabase) -> None:
    key = content(1)
    write(database, archived([(key, 1)], area=Area.QUARANTINE))
    write(database, received(key, 1, quarantine_reason="uid_mismatch"))
    assert rows(database, "instances") == [] and rows(database, "conflicts") == []
    (row,) = rows(database, "quarantine")
    assert (row["reason"], row["delivery_id"]) == ("uid_mismatch", delivery_id(1))
    assert row["object_key"].startswith("quarantine/")
    (row,) = rows(database, "deliveries")
    assert (row["status"], row["indexed_at"]) == ("quarantined", None)


def test_a_delivery_goes_through_its_states(database: ClickHouseDatabase) -> None:
    key = content(1)
    steps: list[tuple[Event, str]] = [
        (receipt([(1, key, 0)]), "spooled"),
        (received(key, 1), "published"),
        (archived([(key, 1)]), "indexed"),
        (replicated([(key, 1)]), "replicated"),
    ]
    for event, status in steps:
        write(database, event)
        (row,) = rows(database, "deliveries", delivery_id=delivery_id(1))
        assert row["status"] == status
    assert row["spooled_at"] == NOON + timedelta(seconds=1)
    assert row["published_at"] == NOON + timedelta(seconds=1, milliseconds=200)
    assert row["archived_at"] == archived([]).archived_at
    assert row["replicated_at"] == NOON + timedelta(minutes=2)
    assert row["association_id"] == "association-1"
    assert row["indexed_at"] is not None and row["response_status"] == 0
    first_indexed_at = row["indexed_at"]
    write(database, received(key, 1), archived([(key, 1)]))
    (row,) = rows(database, "deliveries")
    assert row["indexed_at"] == first_indexed_at, "a replay does not move it"


def test_receipts_tell_what_was_refused(database: ClickHouseDatabase) -> None:
    page = receipt([(1, content(1), 0), (2, content(2), 0xA700), (0, content(3), 0x0122)])
    write(database, page, receipt([(4, content(4), 0xB000)], page=1, ended="released"), page)
    assert [row["status"] for row in rows(database, "receipts")] == [0, 0xA700, 0x0122, 0xB000]
    assert [row["status"] for row in rows(database, "deliveries")] == [
        "spooled",
        "not_accepted",
        "spooled",
    ]
    (row,) = rows(database, "associations")
    assert (row["ended"], row["pages"], row["totals"]) == ("released", 2, {0: 1})


def test_hostile_texts_are_kept_as_they_are(database: ClickHouseDatabase) -> None:
    sop = "1.2'); DROP TABLE received; --\\\n\x00\u202e"
    key = type(content())("", "", sop, "c" * 64)
    name = "O'BRIEN\\\\^\u202e\U0001f600\n\x00X"
    write(database, received(key, header=header(x00100010=[{"Alphabetic": name}])))
    write(database, received(type(key)("", "", sop, "d" * 64), 2), archived([(key, 1)]))
    (row,) = rows(database, "instances", sop_instance_uid=sop)
    assert row["patient_name"] == name
    assert [row["sop_instance_uid"] for row in rows(database, "conflicts")] == [sop]
