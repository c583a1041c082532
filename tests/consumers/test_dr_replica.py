"""What the second site waits for, and what it sets aside."""

from __future__ import annotations

from consumers import dr_replica
from contracts.events import PackReplicated
from contracts.packs import ARCHIVED_AT_METADATA
from contracts.topics import PACK_ARCHIVED
from tests.consumers import story
from tests.consumers.bus import header
from tests.consumers.damage import overwrite_object, remove_object
from tests.consumers.final_states import FINAL_STATES, packs_in
from tests.consumers.spoilt_store import through_proxy
from tests.consumers.world import World, member_of
from tests.faults.http_proxy import Fault, Spoil
from tests.faults.spoilt_answers import is_download


def test_a_pack_that_the_first_site_lacks_holds_the_line_until_it_is_there(world: World) -> None:
    told = story.deliveries(5)
    packs = world.tell(told, [PACK_ARCHIVED])[PACK_ARCHIVED]
    missing = packs[0]
    kept = b"".join(world.engines.primary.object_store.open(missing.object_key))
    remove_object(world.settings.primary.object_store, missing.object_key)
    world.publish(packs)
    with member_of(world, dr_replica.SPEC) as member:
        member.wait_reason("does not have it")
        assert not member.runner.readiness.is_ready
        assert world.bus.events(PackReplicated) == []
        path = world.directory / "again.tar"
        path.write_bytes(kept)
        metadata = {ARCHIVED_AT_METADATA: missing.archived_at.isoformat()}
        world.engines.primary.object_store.put_file(
            missing.object_key, path, missing.object_sha256, metadata
        )
        world.wait_committed(dr_replica.SPEC)
        FINAL_STATES["dr-replica"](world, told)


def test_a_pack_that_is_damaged_at_the_first_site_is_a_dead_letter(world: World) -> None:
    told = story.deliveries(15)
    packs = world.tell(told, [PACK_ARCHIVED])[PACK_ARCHIVED]
    damaged = packs[0]
    overwrite_object(world.settings.primary.object_store, damaged.object_key)
    world.publish(packs)
    with member_of(world, dr_replica.SPEC):
        world.wait_committed(dr_replica.SPEC)
    (letter,) = world.bus.dead_letters(PACK_ARCHIVED)
    assert header(letter, "hilum-reason") == "content_mismatch"
    replicated = {pack.object_key for pack in world.bus.events(PackReplicated)}
    assert replicated == {pack.object_key for pack in packs[1:]}
    assert set(packs_in(world.engines.dr.object_store)) == replicated


def test_a_bit_that_flips_on_the_way_costs_one_more_download(world: World) -> None:
    told = story.deliveries(15)
    packs = world.tell(told, [PACK_ARCHIVED])[PACK_ARCHIVED]
    with through_proxy(world, "primary") as proxy, member_of(world, dr_replica.SPEC):
        proxy.spoil(Fault(Spoil.FLIP_ANSWER, is_download), seed=1, one_in=3)
        world.publish(packs)
        world.wait_committed(dr_replica.SPEC)
        assert proxy.spoilt[Spoil.FLIP_ANSWER.value] > 0
    FINAL_STATES["dr-replica"](world, told)
    assert world.bus.dead_letters(PACK_ARCHIVED) == []


def test_a_line_that_flips_a_bit_in_every_download_holds_the_line_until_it_heals(
    world: World,
) -> None:
    told = story.deliveries(5)
    packs = world.tell(told, [PACK_ARCHIVED])[PACK_ARCHIVED]
    with through_proxy(world, "primary") as proxy, member_of(world, dr_replica.SPEC) as member:
        proxy.spoil(Fault(Spoil.FLIP_ANSWER, is_download), seed=1, one_in=1)
        world.publish(packs)
        member.wait_reason("other bytes came at each of")
        assert packs_in(world.engines.dr.object_store) == {}
        proxy.heal()
        world.wait_committed(dr_replica.SPEC)
    FINAL_STATES["dr-replica"](world, told)
    assert world.bus.dead_letters(PACK_ARCHIVED) == []
