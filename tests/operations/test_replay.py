"""An index rebuilt from topics and from packs, compared row by row, put in place, cut off."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumers.catalog import CATALOG
from contracts.failures import FatalError
from infra.clickhouse import ClickHouseDatabase
from infra.settings import Settings
from operations.replay.difference import difference
from operations.replay.from_bucket import computed_members
from operations.replay.kinds import BUCKET, TABLES
from operations.replay.rebuild import drop_kept
from operations.replay.rewind import Rewound, parse_since, rewind
from operations.replay.shadow import Shadow
from operations.replay.swap import read_journal
from tests.consumers.index_database import differences, empty_all
from tests.consumers.world import member_of
from tests.operations.replay_world import (
    DELIVERIES,
    SPEC,
    Indexed,
    Rows,
    indexed_world,
)


@pytest.fixture(scope="module")
def shared(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Indexed]:
    with indexed_world(engines, tmp_path_factory.mktemp("replay")) as indexed:
        yield indexed


@pytest.fixture
def index(shared: Indexed) -> Indexed:
    shared.heal()
    return shared


def known_to_packs(told: Rows) -> Rows:
    """The views that packs tell, without the columns that they cannot know."""
    return {
        view: [
            {
                name: value
                for name, value in row.items()
                if name not in BUCKET.left_out.get(view, {})
            }
            for row in told[view]
        ]
        for view in BUCKET.views
    }


def test_the_exchanged_tables_are_those_that_the_writer_fills(index: Indexed) -> None:
    tables = index.live.query(
        "SELECT DISTINCT table FROM system.parts WHERE active AND rows > 0"
        " AND database = {name:String}",
        {"name": index.live.name},
    )
    # No content of the story has a conflict, so that table is empty here.
    assert {str(row["table"]) for row in tables} | {"conflict_rows"} == {*TABLES, "migrations"}


def test_an_equal_index_is_told_equal_from_either_source(index: Indexed) -> None:
    for from_bucket in (False, True):
        answer = index.rebuild(from_bucket=from_bucket, restart=True)
        assert answer.ok, answer.views
        assert answer.instances == DELIVERIES and answer.instances_per_s > 0
        assert {view.view: view.live for view in answer.views}["deliveries"] == DELIVERIES


def test_an_emptied_index_heals_from_the_topics_row_for_row(index: Indexed) -> None:
    empty_all(index.live)
    before = index.rebuild(swap=True)
    assert not before.ok and not before.is_swapped, "differences have to be accepted"
    missing = {view.view: view.missing_in_live for view in before.views}
    assert missing["deliveries"] == DELIVERIES and missing["receipts"] == DELIVERIES
    after = index.rebuild(swap=True, accept_differences=True)
    assert after.ok and after.is_swapped and after.kept == (after.kept_as,)
    assert differences(index.told(), index.truth) == []
    drop_kept(index.world.engines, "primary", after.kept_as)
    assert after.kept_as not in database_names(index.live)


def database_names(database: ClickHouseDatabase) -> set[str]:
    return {str(row["name"]) for row in database.query("SELECT name FROM system.databases")}


def test_an_emptied_index_heals_from_the_bucket_row_for_row(index: Indexed) -> None:
    empty_all(index.live)
    after = index.rebuild(from_bucket=True, swap=True, accept_differences=True)
    assert after.is_swapped
    assert differences(known_to_packs(index.told()), known_to_packs(index.truth)) == []


@pytest.mark.parametrize("from_bucket", [False, True])
def test_an_index_out_of_an_old_backup_heals(index: Indexed, from_bucket: bool) -> None:
    index.heal(share=0.5)
    # Its consumer committed what the backup does not have: by itself it never comes.
    index.consume()
    told = index.told()
    assert told["deliveries"] and differences(told, index.truth) != []
    after = index.rebuild(from_bucket=from_bucket, swap=True, accept_differences=True)
    assert after.is_swapped
    if from_bucket:
        assert differences(known_to_packs(index.told()), known_to_packs(index.truth)) == []
    else:
        assert differences(index.told(), index.truth) == []


def test_what_packs_do_not_know_is_handed_on(index: Indexed) -> None:
    for table in ("received", "archived", "instance_rows", "series_rows", "study_rows"):
        index.live.command(f"TRUNCATE TABLE {table}")
    first = indexed_at(index)
    assert index.rebuild(from_bucket=True, swap=True, accept_differences=True).is_swapped
    assert differences(index.told(), index.truth) == []
    assert indexed_at(index) == first, "a replay does not move it"


def indexed_at(index: Indexed) -> list[object]:
    found = index.live.query("SELECT indexed_at FROM deliveries ORDER BY delivery_id")
    return [row["indexed_at"] for row in found]


def test_a_wrong_row_and_a_missing_row_are_found(index: Indexed) -> None:
    wrong, missing, *_ = index.truth["instances"]
    names = "study_instance_uid, series_instance_uid, sop_instance_uid, content_sha256"
    others = "* REPLACE ('MR' AS modality, knowledge + 1 AS knowledge)"
    index.live.command(
        f"INSERT INTO instance_rows SELECT {others} FROM instance_rows FINAL"
        " WHERE content_sha256 = {sha256:String}",
        {"sha256": wrong["content_sha256"]},
    )
    index.live.command(
        "ALTER TABLE instance_rows DELETE WHERE content_sha256 = {sha256:String}"
        " SETTINGS mutations_sync = 2",
        {"sha256": missing["content_sha256"]},
    )
    answer = index.rebuild(from_bucket=True)
    (view,) = [view for view in answer.views if not view.is_equal]
    assert (view.view, view.missing_in_live, view.differs) == ("instances", 1, 1)
    names_of = (index.live.name, answer.shadow)
    by_parts = difference(index.live, *names_of, BUCKET, part_rows=7)
    assert tuple(by_parts) == answer.views, "whatever the parts are"
    found = {(row.key, row.what, row.columns) for row in view.listed}
    assert found == {
        (tuple(str(wrong[name]) for name in names.split(", ")), "differs", ("modality",)),
        (tuple(str(missing[name]) for name in names.split(", ")), "missing_in_live", ()),
    }


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("from_bucket", [False, True])
def test_a_replay_that_was_killed_goes_on(index: Indexed, from_bucket: bool) -> None:
    whole = index.rebuild(from_bucket=from_bucket)
    index.rebuild_and_die("indexed", from_bucket=from_bucket, restart=True)
    rest = index.rebuild(from_bucket=from_bucket)
    assert rest.ok, rest.views
    assert 0 < rest.records < whole.records


def test_a_shadow_is_filled_from_one_source(index: Indexed) -> None:
    assert index.rebuild().ok
    with pytest.raises(FatalError, match="--restart"):
        index.rebuild(from_bucket=True)
    with pytest.raises(FatalError, match="--from-bucket"):
        index.rebuild(site="dr")


@pytest.mark.timeout(1500)
def test_a_swap_that_was_killed_is_finished(index: Indexed) -> None:
    empty_all(index.live)
    index.rebuild_and_die("exchanged delivery_rows", swap=True, accept_differences=True)
    with pytest.raises(FatalError, match="--swap"):
        index.rebuild()
    with pytest.raises(FatalError, match="--swap"):
        drop_kept(index.world.engines, "primary", f"{index.live.name}_shadow")
    index.rebuild_and_die("kept received", swap=True)
    after = index.rebuild(swap=True)
    assert after.ok and after.is_swapped
    assert differences(index.told(), index.truth) == []
    kept = tables_of(index.live, after.kept_as)
    assert kept == set(TABLES)
    shadow = Shadow(index.world.settings.primary.clickhouse)
    assert read_journal(shadow) is None and not shadow.has_tables(shadow.name)
    shadow.close()
    index.consume()
    assert differences(index.told(), index.truth) == []


def tables_of(database: ClickHouseDatabase, name: str) -> set[str]:
    sql = "SELECT name FROM system.tables WHERE database = {name:String}"
    return {str(row["name"]) for row in database.query(sql, {"name": name})}


def test_nothing_but_a_shadow_or_a_kept_index_is_dropped(index: Indexed) -> None:
    for name in (index.live.name, "system", f"{index.live.name}_before_x; DROP", "default"):
        with pytest.raises(FatalError, match="neither"):
            drop_kept(index.world.engines, "primary", name)
    assert differences(index.told(), index.truth) == []


def test_a_consumer_reads_history_again(index: Indexed) -> None:
    def to(since: datetime | None, is_dry_run: bool = False) -> Rewound:
        settings = index.world.settings
        return rewind(settings, SPEC.name, since, is_dry_run, None, tell=print)

    assert sum(one.records for one in to(None, True).topics) == len(index.events)
    assert sum(one.records for one in to(datetime.now(UTC) + timedelta(1)).topics) == 0
    with member_of(index.world, SPEC) as running:
        running.wait_reason("running")
        with pytest.raises(FatalError, match="is running"):
            to(None)
        assert to(None, True).ok
    index.await_left()
    empty_all(index.live)
    again = to(None)
    assert sum(one.records for one in again.topics) == len(index.events)
    index.consume()
    assert differences(index.told(), index.truth) == []


def test_what_cannot_be_read_again_is_refused_by_name(index: Indexed) -> None:
    for name, said in (
        ("object-archive", "redrive"),
        ("nobody", "metadata-index"),
        *((spec.name, "does not") for spec in CATALOG if spec.name == "custody-proof"),
    ):
        with pytest.raises(FatalError, match=said):
            rewind(index.world.settings, name, None, True, None, tell=print)
    with pytest.raises(FatalError, match="beginning"):
        parse_since("yesterday")
    assert parse_since("2026-03-05T12:00:00") == datetime(2026, 3, 5, 12, tzinfo=UTC)


def test_members_are_placed_without_reading_their_headers(index: Indexed, tmp_path: Path) -> None:
    packs = [event for event in index.events if hasattr(event, "archived_at")]
    by_id = {e.delivery_id: e for e in index.events if hasattr(e, "header")}
    for pack in packs:
        events = tuple(by_id[member.delivery_id] for member in pack.members)
        assert computed_members(events) == pack.members
