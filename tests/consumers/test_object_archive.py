"""What the archive refuses, asks for again, and never stores."""

from __future__ import annotations

from dataclasses import replace

from consumers import object_archive
from consumers.pack_groups import pack_groups
from consumers.spec import Record
from contracts.events import (
    Area,
    CustodyRecorded,
    CustodyState,
    GatewayRequest,
    InstanceReceived,
    PackArchived,
    RequestKind,
)
from contracts.packs import MEMBERS_MAX
from contracts.topics import RECEIVED
from tests.consumers import story
from tests.consumers.bus import header
from tests.consumers.final_states import FINAL_STATES, packs_in
from tests.consumers.world import World, member_of


def test_what_is_not_what_was_hashed_is_refused_by_name(world: World) -> None:
    told = story.deliveries(12)
    events = list(world.tell(told, [RECEIVED])[RECEIVED])
    wrong_hash = replace(events[3], content=replace(events[3].content, content_sha256="0" * 64))
    wrong_size = replace(events[5], size_bytes=events[5].size_bytes + 1)
    path_as_id = replace(events[7], delivery_id="../../etc/passwd")
    events[3], events[5], events[7] = wrong_hash, wrong_size, path_as_id
    world.publish(events)
    with member_of(world, object_archive.SPEC):
        world.wait_committed(object_archive.SPEC)
    letters = world.bus.dead_letters(RECEIVED)
    assert sorted(header(letter, "hilum-reason") for letter in letters) == [
        "content_mismatch",
        "content_mismatch",
        "invalid_field",
    ]
    refused = {
        member.delivery_id
        for record in world.bus.events(CustodyRecorded)
        if record.state is CustodyState.REFUSED
        for member in record.members
    }
    assert refused == {e.delivery_id for e in (wrong_hash, wrong_size, path_as_id)}
    stored = packs_in(world.engines.primary.object_store)
    found = {delivery_id for members in stored.values() for delivery_id in members}
    assert found == {e.delivery_id for n, e in enumerate(events) if n not in (3, 5, 7)}


def test_payload_that_is_gone_is_asked_for_again_and_the_record_is_done(world: World) -> None:
    told = story.deliveries(6)
    events = list(world.tell(told, [RECEIVED])[RECEIVED])
    beyond = replace(events[1], payload_offsets=(10_000_000,))
    another = replace(events[2], payload_offsets=events[4].payload_offsets)
    unnamed = replace(events[3], payload_partition=None, payload_offsets=None)
    gone = {1: beyond, 2: another, 3: unnamed}
    world.publish([gone.get(number, event) for number, event in enumerate(events)])
    with member_of(world, object_archive.SPEC):
        world.wait_committed(object_archive.SPEC)
        requests = world.bus.events(GatewayRequest)
        assert {request.kind for request in requests} == {RequestKind.REPUBLISH}
        assert {request.reason for request in requests} == {"payload_expired"}
        asked = {(r.gateway_id, delivery) for r in requests for delivery in r.delivery_ids}
        assert asked == {(e.gateway_id, e.delivery_id) for e in gone.values()}
        assert world.bus.dead_letters(RECEIVED) == []
        # the gateway obeys: the same deliveries, with another place
        world.publish([events[number] for number in gone])
        world.wait_committed(object_archive.SPEC)
        FINAL_STATES["object-archive"](world, told)


def test_an_archived_pack_keeps_the_time_it_was_archived_first(world: World) -> None:
    told = story.deliveries(5)
    events = world.tell(told, [RECEIVED])[RECEIVED]
    for _ in range(2):
        world.publish(events)
        with member_of(world, object_archive.SPEC):
            world.wait_committed(object_archive.SPEC)
    by_key: dict[str, set[object]] = {}
    for pack in world.bus.events(PackArchived):
        by_key.setdefault(pack.object_key, set()).add(pack.archived_at)
    assert by_key and all(len(times) == 1 for times in by_key.values())


def record_of(event: InstanceReceived, offset: int) -> Record[InstanceReceived]:
    return Record(event, RECEIVED.name, 0, offset)


def test_a_pack_has_one_study_one_area_and_a_bounded_number_of_members() -> None:
    (first,) = story.deliveries(1)
    ids = [f"01980000-0000-7000-8000-{number:012d}" for number in range(MEMBERS_MAX + 10)]
    study = [record_of(replace(first.event, delivery_id=i), n) for n, i in enumerate(ids)]
    groups = list(pack_groups(reversed(study)))
    assert [len(group) for _, group in groups] == [MEMBERS_MAX, 10]
    assert [record.event.delivery_id for record in groups[0][1]] == ids[:MEMBERS_MAX]
    strange = [
        replace(first.event, content=replace(first.event.content, study_instance_uid=uid))
        for uid in ("", "", "no uid", "1.2.3", "1.2.3")
    ]
    quarantined = replace(strange[3], delivery_id=ids[9], quarantine_reason="unreadable")
    several = [replace(e, delivery_id=i) for e, i in zip(strange, ids, strict=False)]
    mixed = [record_of(event, n) for n, event in enumerate([*several, quarantined])]
    sizes = sorted((area.value, len(group)) for area, group in pack_groups(mixed))
    assert sizes == [("packs", 1), ("packs", 1), ("packs", 1), ("packs", 2), ("quarantine", 1)]
    assert {area for area, _ in pack_groups(mixed)} == {Area.PACKS, Area.QUARANTINE}


def test_a_repeated_delivery_is_packed_once_as_told_last() -> None:
    (only,) = story.deliveries(1)
    first, last = (
        replace(only.event, payload_offsets=(1,)),
        replace(only.event, payload_offsets=(9,)),
    )
    ((_, group),) = pack_groups([record_of(first, 0), record_of(last, 1)])
    assert [record.event for record in group] == [last]
