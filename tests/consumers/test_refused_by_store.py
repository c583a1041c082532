"""A store that takes no object above a size: what becomes of the deliveries of such a pack."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from consumers import dr_replica, object_archive
from contracts.events import CustodyRecorded, CustodyState
from contracts.topics import PACK_ARCHIVED, RECEIVED
from infra.seams import ObjectStore
from infra.settings import ConsumerSettings, Settings
from operations.dead_letters import dead_letters, redrive
from tests.consumers import story
from tests.consumers.bus import header
from tests.consumers.final_states import FINAL_STATES, packs_in
from tests.consumers.spoilt_store import through_proxy
from tests.consumers.story import Delivery
from tests.consumers.world import World, member_of, world_in
from tests.faults.http_proxy import Fault, Spoil
from tests.faults.spoilt_answers import TOO_LARGE, is_upload_above

# More than packs of one small delivery need, less than the giant one has.
OBJECT_BYTES_MAX = 9_000
GIANT_BYTES = 20_000


def with_a_giant(told: Sequence[Delivery], place: int) -> tuple[list[Delivery], str]:
    """The same story, of which one delivery is larger than any object may be; its id."""
    given = told[place]
    data = given.data + bytes(GIANT_BYTES)
    sha256 = hashlib.sha256(data).hexdigest()
    content = replace(given.event.content, content_sha256=sha256)
    giant = Delivery(replace(given.event, content=content, size_bytes=len(data)), data)
    return [*told[:place], giant, *told[place + 1 :]], giant.event.delivery_id


def taking_less(answer: bytes) -> Fault:
    """What a store does that takes nothing larger than OBJECT_BYTES_MAX."""
    return Fault(Spoil.ANSWER, is_upload_above(OBJECT_BYTES_MAX), (answer,))


def sizes(store: ObjectStore) -> list[int]:
    return [stored.size_bytes for stored in store.list("packs/")]


def custody_of(world: World, state: CustodyState) -> set[str]:
    return {
        member.delivery_id
        for record in world.bus.events(CustodyRecorded)
        if record.state is state
        for member in record.members
    }


@pytest.mark.parametrize(
    ("answer", "memory_bytes_max"),
    [(TOO_LARGE[0], None), (TOO_LARGE[1], 0)],
    ids=["by-the-store-in-memory", "by-a-proxy-on-disk"],
)
def test_only_what_the_store_takes_in_no_pack_is_refused_and_custody_is_told(
    databases: Settings, tmp_path: Path, answer: bytes, memory_bytes_max: int | None
) -> None:
    spec = object_archive.SPEC
    own = ConsumerSettings(memory_bytes_max=memory_bytes_max)
    changed = databases.model_copy(update={"consumers": {**databases.consumers, spec.name: own}})
    with world_in(changed, tmp_path) as world:
        told, giant = with_a_giant(story.deliveries(12), 3)
        everything = {delivery.event.delivery_id for delivery in told}
        events = world.tell(told, [RECEIVED])[RECEIVED]
        store = world.engines.primary.object_store
        with through_proxy(world, "primary") as proxy, member_of(world, spec):
            proxy.spoil(taking_less(answer), seed=1, one_in=1)
            world.publish(events)
            world.wait_committed(spec)
            assert proxy.spoilt[Spoil.ANSWER.value] > 1, "a pack of several was refused, too"
        (letter,) = world.bus.dead_letters(RECEIVED)
        assert header(letter, "hilum-reason") == "refused_by_sink"
        assert custody_of(world, CustodyState.REFUSED) == {giant}
        there = {d for members in packs_in(store).values() for d in members}
        assert there == everything - {giant}
        assert max(sizes(store)) <= OBJECT_BYTES_MAX
        # The limit is raised, and a person sends the record again.
        letters = dead_letters(world.settings.kafka, [RECEIVED.dlq_name])
        assert len(list(redrive(world.engines.publisher, letters))) == 1
        with member_of(world, spec):
            world.wait_committed(spec)
        there = {d for members in packs_in(store).values() for d in members}
        assert there == everything
        kept = custody_of(world, CustodyState.ARCHIVED) | custody_of(
            world, CustodyState.QUARANTINED
        )
        assert kept == everything


def test_a_pack_that_the_second_site_never_takes_holds_up_no_other(world: World) -> None:
    spec = dr_replica.SPEC
    told, _ = with_a_giant(story.deliveries(6), 3)
    packs = world.tell(told, [PACK_ARCHIVED])[PACK_ARCHIVED]
    too_large = {p.object_key for p in packs if p.object_size_bytes > OBJECT_BYTES_MAX}
    assert 0 < len(too_large) < len(packs)
    with through_proxy(world, "dr") as proxy, member_of(world, spec):
        proxy.spoil(taking_less(TOO_LARGE[0]), seed=1, one_in=1)
        world.publish(packs)
        world.wait_committed(spec)
    letters = dead_letters(world.settings.kafka, [PACK_ARCHIVED.dlq_name])
    assert len(letters) == len(too_large)
    there = set(packs_in(world.engines.dr.object_store))
    assert there == {pack.object_key for pack in packs} - too_large
    list(redrive(world.engines.publisher, letters))
    with member_of(world, spec):
        world.wait_committed(spec)
        FINAL_STATES[spec.name](world, told)
