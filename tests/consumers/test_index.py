"""The index: whole instances only, in any order, any number of times, on a real engine."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from consumers import index_writer
from consumers.index_input import ROW_BYTES
from consumers.index_writer import IndexWriter
from contracts.events import (
    Area,
    Event,
    InstanceReceived,
)
from infra.clickhouse import ClickHouseDatabase
from infra.clock import SystemClock
from tests.consumers.index_database import (
    differences,
    empty_all,
    everything,
    rows,
    write,
)
from tests.consumers.index_events import (
    NOON,
    archived,
    content,
    header,
    receipt,
    received,
    replicated,
)


def test_a_half_row_is_in_no_view_of_instances(database: ClickHouseDatabase) -> None:
    write(database, received(content(1)))
    write(database, archived([(content(2), 2)]))
    for view in ("instances", "series", "studies", "patients"):
        assert rows(database, view) == []
    assert [row["status"] for row in rows(database, "deliveries")] == ["published", "archived"]


def test_an_instance_has_the_columns_of_both_halves(database: ClickHouseDatabase) -> None:
    key = content(1)
    text = header(x00080030=["101530.5"], x00100030=["19610203"], x00200013=["17"])
    write(database, received(key, header=text), archived([(key, 1)]))
    (row,) = rows(database, "instances")
    assert row["study_instance_uid"] == key.study_instance_uid
    assert (row["patient_id"], row["patient_name"]) == ("P1", "DOE^JANE")
    assert row["patient_birth_date"].isoformat() == "1961-02-03"
    assert row["study_date"].isoformat() == "2026-03-05"
    assert (row["study_time"], row["series_number"], row["instance_number"]) == ("101530.5", 3, 17)
    assert (row["site"], row["calling_ae_title"]) == ("north", "CT1")
    assert row["received_at"] == NOON + timedelta(seconds=1)
    assert row["archived_at"] == archived([(key, 1)]).archived_at
    assert (row["offset_bytes"], row["length_bytes"]) == (512, 526_000)
    assert row["header"] == text
    assert row["tags"]["PatientName"] == "DOE^JANE=X"


def test_a_batch_in_several_parts_tells_the_same(
    database: ClickHouseDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = mixture()
    write(database, *events)
    truth = everything(database)
    empty_all(database)
    monkeypatch.setattr(index_writer, "PART_BYTES_MAX", ROW_BYTES + 1)
    told = [event for event in events if isinstance(event, InstanceReceived)]
    assert len(list(index_writer._parts(told))) > 2
    write(database, *events)
    assert not differences(everything(database), truth)


def test_a_writer_has_its_threads_from_its_beginning_to_its_end(
    database: ClickHouseDatabase,
) -> None:
    def own() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("index_")}

    writer = IndexWriter(database, SystemClock())
    begun = own()
    assert len(begun) >= index_writer.THREADS
    writer.write(received=[received(content(1))], archived=[archived([(content(1), 1)])])
    assert own() <= begun, "a write starts none: there may be no memory for it"
    writer.close()
    assert len(own()) <= len(begun) - index_writer.THREADS
    assert len(rows(database, "instances")) == 1


def test_every_order_of_the_halves_gives_the_same_views(database: ClickHouseDatabase) -> None:
    orders = list(itertools.permutations(range(5)))
    # Each order has a study of its own; the k-th batch holds the k-th event of every order.
    for step in range(5):
        write(database, *(halves_of(study)[order[step]] for study, order in enumerate(orders, 1)))
    names = ("site", "modality", "object_key", "archived_at", "received_at", "deliveries")
    instances = rows(database, "instances")
    assert len(instances) == len(orders)
    (told,) = {tuple(row[name] for name in names) for row in instances}
    assert told[:2] == ("north", "MR"), "the newest scan describes, the first delivery is told"
    assert told[2] == archived([], "a").object_key, "the smallest key is its location"
    assert told[4:] == (NOON + timedelta(seconds=1), 2)
    counted = ("instances", "series", "modalities", "size_bytes", "last_received_at")
    assert len({repr([row[name] for name in counted]) for row in rows(database, "studies")}) == 1
    statuses = [row["status"] for row in rows(database, "deliveries")]
    assert statuses == ["replicated", "indexed"] * len(orders)


def halves_of(study: int) -> list[Event]:
    """A content that two sites delivered, each archived, one of them replicated."""
    key, one, two = content(1, study=study), 2 * study, 2 * study + 1
    later = {"received_at": NOON + timedelta(seconds=2), "site": "south", "scanner_version": 2}
    return [
        received(key, one, received_at=NOON + timedelta(seconds=1)),
        received(key, two, header=header(x00080060=["MR"]), **later),
        archived([(key, one)], "b"),
        archived([(key, two)], "a"),
        replicated([(key, one)], "b"),
    ]


def test_repeats_and_other_batches_change_nothing(database: ClickHouseDatabase) -> None:
    events = mixture()
    write(database, *events)
    truth = everything(database)
    assert len(truth["instances"]) == 24 and len(truth["conflicts"]) == 1
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(3):
        again = events + chance.sample(events, len(events) // 3)
        chance.shuffle(again)
        for batch in batches(again, lambda: chance.randint(1, 25)):
            write(database, *batch)
        assert differences(everything(database), truth) == []
    empty_all(database)
    for batch in batches(again, lambda: chance.randint(1, 25)):
        write(database, *batch)
    assert differences(everything(database), truth) == []


def test_writers_at_the_same_time_miss_nothing(database: ClickHouseDatabase) -> None:
    events = mixture()
    write(database, *events)
    truth = everything(database)
    empty_all(database)
    random.Random(7).shuffle(events)
    lots = [list(batches(events[start::4], lambda: 6)) for start in range(4)]

    def one_writer(lot: Sequence[Sequence[Event]]) -> None:
        for batch in lot:
            write(database, *batch)

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(one_writer, lots))
    assert differences(everything(database), truth) == []


def test_studies_and_series_agree_with_instances(database: ClickHouseDatabase) -> None:
    write(database, *mixture())
    by_study = database.query(
        "SELECT study_instance_uid, uniqExact(series_instance_uid) AS series,"
        " count() AS instances, uniqExact(sop_instance_uid) AS sop_instances,"
        " sum(size_bytes) AS size_bytes, arraySort(groupUniqArray(modality)) AS modalities,"
        " arraySort(groupUniqArray(site)) AS sites, min(received_at) AS first_received_at,"
        " max(received_at) AS last_received_at"
        " FROM instances WHERE study_instance_uid != '' GROUP BY study_instance_uid"
        " ORDER BY study_instance_uid"
    )
    names = list(by_study[0])
    assert [{n: row[n] for n in names} for row in rows(database, "studies")] == by_study
    by_series = database.query(
        "SELECT study_instance_uid, series_instance_uid, count() AS instances,"
        " sum(size_bytes) AS size_bytes FROM instances WHERE study_instance_uid != ''"
        " GROUP BY ALL ORDER BY ALL"
    )
    names = ["study_instance_uid", "series_instance_uid", "instances", "size_bytes"]
    assert [{n: row[n] for n in names} for row in rows(database, "series")] == by_series
    by_patient = database.query(
        "SELECT patient_id, count() AS instances, uniqExact(study_instance_uid) AS studies"
        " FROM instances WHERE study_instance_uid != '' GROUP BY ALL ORDER BY ALL"
    )
    names = ["patient_id", "instances", "studies"]
    assert [{n: row[n] for n in names} for row in rows(database, "patients")] == by_patient


def test_a_newer_scan_moves_an_instance_to_its_patient(database: ClickHouseDatabase) -> None:
    key = content(1)
    write(database, received(key), archived([(key, 1)]))
    write(database, received(key, scanner_version=2, header=header(x00100020=["P2"])))
    assert [row["patient_id"] for row in rows(database, "patients")] == ["P2"]
    assert [row["patient_id"] for row in rows(database, "studies")] == ["P2"]


def test_instances_without_a_study_share_no_study(database: ClickHouseDatabase) -> None:
    keys = [
        type(content())("", "", f"2.25.{number}", content(number).content_sha256)
        for number in (1, 2)
    ]
    write(database, *(received(key, n) for n, key in enumerate(keys, 1)))
    write(database, *(archived([(key, n)], "ab"[n - 1]) for n, key in enumerate(keys, 1)))
    assert len(rows(database, "instances")) == 2
    assert rows(database, "studies") == []


def test_the_same_content_from_two_sites_is_one_instance(database: ClickHouseDatabase) -> None:
    key = content(1)
    write(database, received(key, 2, site="south"), archived([(key, 2), (key, 1)]))
    write(database, received(key, 1))
    (row,) = rows(database, "instances")
    assert (row["site"], row["deliveries"]) == ("north", 2)
    assert [row["site"] for row in rows(database, "deliveries")] == ["north", "south"]
    assert rows(database, "conflicts") == []


def mixture() -> list[Event]:
    """Two studies of two series, one content twice, a conflict, halves, quarantine, receipts."""
    events: list[Event] = []
    delivery = 0
    for study, series in itertools.product((1, 2), (1, 2)):
        keys = [content(number, study=study, series=series) for number in range(1, 7)]
        site = "north" if study == 1 else "south"
        text = header(x00100020=[f"P{study}"], x00080060=["CT" if series == 1 else "SR"])
        deliveries = list(range(delivery + 1, delivery + 1 + len(keys)))
        delivery += len(keys)
        events += [
            received(key, number, site=site, header=text, size_bytes=500_000 + number)
            for key, number in zip(keys, deliveries, strict=True)
        ]
        members = list(zip(keys, deliveries, strict=True))
        pack = "abcdefgh"[study * 2 + series - 3]
        events += [archived(members[:4], pack), archived(members[4:], pack.upper())]
        events.append(replicated(members[:4], pack))
        events.append(receipt([(n, k, 0) for k, n in members], page=study * 2 + series))
    again, changed = content(1), content(2, version=1)
    events += [
        received(again, 90, site="south"),
        archived([(again, 90)], "k"),
        received(changed, 91),
        received(content(7), 92, quarantine_reason="unreadable"),
        archived([(content(7), 92)], "q", Area.QUARANTINE),
        received(content(8), 93),
        archived([(content(9), 94)], "m"),
    ]
    return events


def batches(events: Sequence[Event], size: Callable[[], int]) -> list[Sequence[Event]]:
    """The events in order, in batches of `size()` each."""
    parts = []
    start = 0
    while start < len(events):
        end = start + size()
        parts.append(events[start:end])
        start = end
    return parts
