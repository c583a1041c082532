"""Packs that no event names: taken as they are found, or named and left where they are."""

from __future__ import annotations

import pytest

from consumers import dr_replica, metadata_index
from contracts.events import CustodyRecorded, CustodyState, PackArchived
from contracts.topics import PACK_ARCHIVED, PACK_REPLICATED, RECEIVED
from operations.packs.adopt import Adoption, adopt
from operations.packs.collect import collect
from tests.consumers import story
from tests.consumers.damage import overwrite_object, remove_object
from tests.consumers.final_states import instances, packs_in
from tests.consumers.index_database import empty_all
from tests.consumers.world import World, member_of
from tests.operations.pack_world import (
    assert_indexed,
    bytes_in_primary,
    data_of,
    patiently,
    remake_topics,
    stored,
)


@pytest.fixture
def world(pack_world: World) -> World:
    return pack_world


def events_of(world: World) -> list[PackArchived]:
    return patiently(lambda: world.bus.events(PackArchived))


def test_orphans_reach_the_index_the_second_site_and_their_gateways(world: World) -> None:
    told = story.deliveries(30)
    packs = stored(world, told)
    world.publish(packs[:2])
    found = patiently(lambda: adopt(world.engines, print))
    assert set(found.adopted) <= {pack.object_key for pack in packs[2:]} and not found.refused
    # What is published again is word for word what the archive would have said.
    announced = {p.object_key: p for p in events_of(world)}
    assert announced.items() >= {p.object_key: p for p in packs}.items()
    recorded = {
        (record.gateway_id, record.state, member.delivery_id, member.content_sha256)
        for record in patiently(lambda: world.bus.events(CustodyRecorded))
        for member in record.members
        if member.delivery_id in data_of(told)
    }
    orphaned = {member.delivery_id for pack in packs[2:] for member in pack.members}
    assert recorded == {
        (
            d.event.gateway_id,
            CustodyState.QUARANTINED if d.event.quarantine_reason else CustodyState.ARCHIVED,
            d.event.delivery_id,
            d.event.content.content_sha256,
        )
        for d in told
        if d.event.delivery_id in orphaned
    }
    # The received events of the first two come their usual way; those of the others never do.
    world.publish([d.event for d in told if d.event.delivery_id not in orphaned])
    with member_of(world, dr_replica.SPEC), member_of(world, metadata_index.SPEC):
        world.wait_committed(dr_replica.SPEC)
        world.wait_committed(metadata_index.SPEC)
    assert_indexed(world, told)
    here, there = bytes_in_primary(world), packs_in(world.engines.dr.object_store)
    for pack in packs:
        assert there[pack.object_key] == here[pack.object_key]
    assert {i: b for pack in packs for i, b in here[pack.object_key].items()} == data_of(told)
    assert patiently(lambda: adopt(world.engines)) == Adoption((), ()), "nothing is left to adopt"


def test_a_damaged_orphan_is_named_and_stays(world: World) -> None:
    packs = stored(world, story.deliveries(20))
    store = world.engines.primary.object_store
    flipped, cut, foreign, *sound = packs
    whole = b"".join(store.open(flipped.object_key))
    at = flipped.members[0].offset_bytes + flipped.members[0].length_bytes - 1
    overwrite_object(
        world.settings.primary.object_store,
        flipped.object_key,
        whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :],
    )
    half = b"".join(store.open(cut.object_key))[: cut.object_size_bytes // 2]
    overwrite_object(world.settings.primary.object_store, cut.object_key, half)
    # The very bytes, but without the time at which they were archived.
    untold = b"".join(store.open(foreign.object_key))
    overwrite_object(world.settings.primary.object_store, foreign.object_key, untold)
    before = {one.key: one.size_bytes for one in store.list("")}
    found = patiently(lambda: adopt(world.engines))
    reasons = dict(line.split(": ", 1) for line in found.refused)
    assert set(reasons) == {flipped.object_key, cut.object_key, foreign.object_key}
    assert "not those its key names" in reasons[flipped.object_key]
    assert "not readable as a pack" in reasons[cut.object_key]
    assert "hilum-archived-at" in reasons[foreign.object_key]
    assert {one.key: one.size_bytes for one in store.list("")} == before
    announced = {pack.object_key for pack in events_of(world)}
    assert announced >= {pack.object_key for pack in sound} and not announced & set(reasons)
    again = patiently(lambda: adopt(world.engines))
    assert again == Adoption((), found.refused), "said as often as it is asked"
    for key in reasons:
        remove_object(world.settings.primary.object_store, key)


def test_deleted_event_topics_lose_no_pack(world: World) -> None:
    told = story.deliveries(12)
    world.publish(world.tell(told, [PACK_ARCHIVED])[PACK_ARCHIVED])
    kept = bytes_in_primary(world)
    remake_topics(world, [RECEIVED, PACK_ARCHIVED, PACK_REPLICATED])
    database = world.engines.primary.database
    empty_all(database)
    assert events_of(world) == []
    nothing = patiently(lambda: collect(world.engines, is_applied=True))
    assert nothing.ok and not nothing.collected and bytes_in_primary(world) == kept
    found = patiently(lambda: adopt(world.engines))
    assert set(found.adopted) <= set(kept) and not found.refused
    assert {pack.object_key for pack in events_of(world)} == set(kept)
    regular = {
        delivery_id
        for key, members in kept.items()
        if key.startswith("packs/")
        for delivery_id in members
    }
    rows = database.query("SELECT delivery_id FROM deliveries WHERE area = 'packs'")
    assert (
        {row["delivery_id"] for row in rows}
        == regular
        >= {d.event.delivery_id for d in told if d.event.quarantine_reason is None}
    )
    assert len(instances(database)) == len(regular), "each was sent once"
    assert bytes_in_primary(world) == kept
