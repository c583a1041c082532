"""What is lost, flipped, orphaned or doubled is found, whichever way custody is counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest

from consumers import metadata_index
from consumers.index_writer import IndexWriter
from contracts.events import PackArchived
from contracts.identity import DeliveryIds
from infra.settings import Settings
from operations.receipts_indexed import faults_of_receipts
from operations.verify import Verdict, VerifyOptions, Way, verify
from tests.consumers import story
from tests.consumers.damage import overwrite_object, remove_object
from tests.consumers.story import Delivery
from tests.consumers.world import World, member_of, world_of
from tests.operations.pack_world import of_one_study, patiently, stored

pytestmark = pytest.mark.timeout(900)
_ids = DeliveryIds()
# What tells the ways apart, and what a stopped gateway says.
_OF_THE_WAY = {"started_at", "sources", "reasons", "gateways", "ok"}


@pytest.fixture(scope="module")
def archive(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests: each adds to it, and looks at what it has added. Its index is running."""
    with (
        world_of(engines, tmp_path_factory.mktemp("verify")) as world,
        member_of(world, metadata_index.SPEC),
    ):
        settle(world, story.deliveries(60))
        yield world


def settle(world: World, told: Sequence[Delivery]) -> list[PackArchived]:
    """Their packs, once both sites have them in bucket and index."""
    packs = stored(world, told)
    dr = world.engines.dr
    story.store_packs(told, dr.object_store, dr.name, world.directory)
    IndexWriter(dr.database, world.engines.clock).write(
        received=[delivery.event for delivery in told], archived=packs
    )
    world.publish([*(delivery.event for delivery in told), *packs, *story.receipts(told)])
    world.wait_committed(metadata_index.SPEC)
    return packs


def one_way(world: World, way: Way = Way.INDEX, rehash: bool = False) -> Verdict:
    """The verdict as of now."""
    options = VerifyOptions(wait_s=0.0, rehash=rehash, way=way)
    return patiently(lambda: verify(world.engines, options))


def both_ways(world: World, rehash: bool = False) -> Verdict:
    """The verdict, the same from each source itself as from the index."""
    whole, counted = one_way(world, Way.SOURCES, rehash), one_way(world, Way.INDEX, rehash)
    differing = {
        field.name: (getattr(whole, field.name), getattr(counted, field.name))
        for field in fields(Verdict)
        if field.name not in _OF_THE_WAY
        and getattr(whole, field.name) != getattr(counted, field.name)
    }
    assert not differing
    assert faults(whole) == faults(counted)
    assert whole.sources.keys() == counted.sources.keys()
    return counted


def faults(verdict: Verdict) -> list[str]:
    """Why it is not good; the gateways of these settings do not run."""
    return [reason for reason in verdict.reasons if not reason.startswith("gateway ")]


def again(delivery: Delivery) -> Delivery:
    """The same content, received once more."""
    return replace(delivery, event=replace(delivery.event, delivery_id=_ids.mint()))


def content_of(delivery: Delivery) -> tuple[str, str]:
    return delivery.event.content.sop_instance_uid, delivery.event.content.content_sha256


def test_what_is_whole_is_counted_and_the_sources_are_named(archive: World) -> None:
    before = one_way(archive)
    told = story.deliveries(40)
    settle(archive, told)
    verdict = both_ways(archive)
    in_quarantine = sum(d.event.quarantine_reason is not None for d in told)
    assert verdict.acknowledged - before.acknowledged == len(told)
    assert verdict.deliveries - before.deliveries == len(told)
    assert verdict.quarantined - before.quarantined == in_quarantine > 0
    kept = len(told) - in_quarantine
    for name in ("archived", "indexed", "replicated"):
        assert getattr(verdict, name) - getattr(before, name) == kept
    assert f"{archive.engines.primary.database.name}.receipts" in verdict.sources["acknowledged"]
    assert archive.engines.dr.object_store.bucket in verdict.sources["replicated"]


def test_what_was_acknowledged_and_never_came_is_named(archive: World) -> None:
    before = one_way(archive)
    lost = of_one_study(3, "2.25.77.11")
    archive.publish(story.receipts(lost))
    archive.wait_committed(metadata_index.SPEC)
    verdict = both_ways(archive)
    assert verdict.acknowledged_not_found - before.acknowledged_not_found == len(lost)
    assert {content_of(d) for d in lost} <= set(verdict.not_found)
    settle(archive, lost)
    assert both_ways(archive).acknowledged_not_found == before.acknowledged_not_found


def test_a_pack_that_is_gone_is_a_loss_at_its_site(archive: World) -> None:
    before = one_way(archive)
    here, there = of_one_study(4, "2.25.77.12"), of_one_study(5, "2.25.77.13")
    (pack_here,), (pack_there,) = settle(archive, here), settle(archive, there)
    remove_object(archive.settings.primary.object_store, pack_here.object_key)
    remove_object(archive.settings.dr.object_store, pack_there.object_key)
    verdict = both_ways(archive)
    assert verdict.acknowledged_not_found - before.acknowledged_not_found == len(here)
    assert verdict.archived - before.archived == len(there)
    assert verdict.replicated - before.replicated == 0
    assert {content_of(d) for d in here} <= set(verdict.not_found)


def test_a_flipped_byte_is_found_where_it_lies(archive: World) -> None:
    (pack,) = settle(archive, of_one_study(2, "2.25.77.14"))
    store = archive.engines.dr.object_store
    data = bytearray(store.read(pack.object_key))
    data[700] ^= 1
    overwrite_object(archive.settings.dr.object_store, pack.object_key, bytes(data))
    verdict = both_ways(archive, rehash=True)
    assert any(pack.object_key in line for line in verdict.bytes_wrong)


def test_an_orphan_is_named_with_what_it_holds(archive: World) -> None:
    before = one_way(archive)
    nobodys = of_one_study(3, "2.25.77.15")
    (pack,) = stored(archive, nobodys)
    verdict = both_ways(archive)
    assert verdict.orphan_objects - before.orphan_objects == 1
    assert verdict.orphan_bytes - before.orphan_bytes == pack.object_size_bytes
    assert pack.object_key in verdict.orphans
    # Nobody acknowledged it, and nothing may appear that was not received.
    assert verdict.archived - before.archived == len(nobodys)
    assert verdict.acknowledged == before.acknowledged


def test_a_content_that_came_twice_is_one_with_redundant_bytes(archive: World) -> None:
    before = one_way(archive)
    first = of_one_study(4, "2.25.77.16")
    settle(archive, first)
    settle(archive, [again(delivery) for delivery in first])
    verdict = both_ways(archive)
    assert verdict.deliveries - before.deliveries == 2 * len(first)
    assert verdict.archived - before.archived == len(first)
    size = sum(delivery.event.size_bytes for delivery in first)
    assert verdict.redundant_bytes - before.redundant_bytes == size


def test_a_row_that_an_index_lost_is_missed(archive: World) -> None:
    before = one_way(archive)
    here, there = of_one_study(2, "2.25.77.17"), of_one_study(3, "2.25.77.18")
    settle(archive, [*here, *there])
    for site, told in ((archive.engines.primary, here), (archive.engines.dr, there)):
        site.database.command(
            "ALTER TABLE instance_rows DELETE WHERE sop_instance_uid IN {sops:Array(String)}"
            " SETTINGS mutations_sync = 2",
            {"sops": [content_of(delivery)[0] for delivery in told]},
        )
    verdict = both_ways(archive)
    assert verdict.archived - before.archived == len(here) + len(there)
    assert verdict.indexed - before.indexed == len(there)
    assert verdict.replicated - before.replicated == len(here)


def test_an_index_that_lacks_receipts_is_not_believed(archive: World) -> None:
    archive.engines.primary.database.command("TRUNCATE TABLE receipt_rows")
    verdict = one_way(archive)
    assert any("lacks" in fault and "hilum replay" in fault for fault in faults(verdict))
    # A small index is not asked at all: the receipts themselves are.
    verdict = one_way(archive, Way.AUTO)
    assert verdict.acknowledged and "topic" in verdict.sources["acknowledged"]


def test_an_index_that_is_behind_is_not_believed(
    engines: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.receipts_indexed.COMMITTED_WITHIN_S", 0.0)
    with world_of(engines, tmp_path) as world:
        pages = story.receipts(story.deliveries(3))
        world.publish(pages)
        (fault,) = patiently(lambda: faults_of_receipts(world.engines))
        assert f"{len(pages)} records" in fault and "yet to read" in fault
