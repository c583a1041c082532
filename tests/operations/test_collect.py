"""Merged packs replace small ones; what is superfluous goes, and never a delivery's last place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from consumers import dr_replica, metadata_index
from consumers.part10 import part10_head
from contracts.events import PackArchived
from contracts.packs import COLLECTED_PREFIX, collected_key
from infra.seams import StoreSite
from operations.packs.collect import Collected, collect
from operations.packs.fetch import fetch
from operations.packs.merge import Merged, MergeOptions, merge
from operations.packs.survey import listed_packs
from operations.rehash import rehash_bucket
from operations.replay.rewind import rewind
from tests.consumers import story
from tests.consumers.damage import overwrite_object, remove_object
from tests.consumers.final_states import packs_in
from tests.consumers.story import Delivery
from tests.consumers.world import World, member_of
from tests.operations.pack_world import data_of, of_one_study


@dataclass
class Study:
    """A study that came in small packs."""

    world: World
    uid: str
    told: Sequence[Delivery]
    packs: Sequence[PackArchived]

    @property
    def keys(self) -> set[str]:
        return {pack.object_key for pack in self.packs}

    def merge(self, **options: object) -> Merged:
        wanted = {"packs_min": 2, "idle": timedelta(0), "is_applied": True, **options}
        return merge(self.world.engines, MergeOptions((self.uid,), **wanted), print)  # type: ignore[arg-type]

    def collect(
        self, is_applied: bool = True, tell: Callable[[str], None] = lambda text: None
    ) -> Collected:
        return collect(self.world.engines, (self.uid,), is_applied, tell)

    def held(self, site: StoreSite) -> dict[str, dict[str, bytes]]:
        """The study's packs at a site."""
        mine = data_of(self.told).keys()
        return {key: p for key, p in packs_in(site.object_store).items() if p.keys() & mine}

    def named(self, site: StoreSite) -> set[str]:
        """The packs that a site's index sends readers to."""
        return {
            str(row["object_key"])
            for view in ("instances", "deliveries")
            for row in site.database.query(
                f"SELECT object_key FROM {view} WHERE study_instance_uid = {{uid:String}}",
                {"uid": self.uid},
            )
        }

    def assert_whole(self, site: StoreSite) -> None:
        """Every delivery is in the bucket, byte for byte, where the index says it is."""
        held = self.held(site)
        found = {i: data for members in held.values() for i, data in members.items()}
        assert found == data_of(self.told)
        assert self.named(site) <= held.keys()


@contextmanager
def consuming(world: World) -> Iterator[None]:
    """Both consumers of packs have read all there is at the block's end."""
    with member_of(world, dr_replica.SPEC), member_of(world, metadata_index.SPEC):
        yield
        world.wait_committed(dr_replica.SPEC)
        world.wait_committed(metadata_index.SPEC)


def study_of(world: World, uid: str, parts: int = 4, size: int = 3) -> Study:
    told = of_one_study(parts * size, uid)
    primary = world.engines.primary
    packs = [
        pack
        for start in range(0, len(told), size)
        for pack in story.store_packs(
            told[start : start + size], primary.object_store, primary.name, world.directory
        )
    ]
    world.publish([*(d.event for d in told), *packs])
    return Study(world, uid, told, packs)


@pytest.fixture
def sites(pack_world: World) -> tuple[StoreSite, StoreSite]:
    return pack_world.engines.primary, pack_world.engines.dr


def test_many_small_packs_become_one_and_go(
    pack_world: World, sites: tuple[StoreSite, StoreSite], tmp_path: Path
) -> None:
    study = study_of(pack_world, "2.25.88.1")
    before = study.held(sites[0])
    assert len(study.merge(is_applied=False).merges) == 1
    assert not study.merge(idle=timedelta(days=36_500)).merges, "not at rest for so long"
    assert study.held(sites[0]) == before
    (made,) = study.merge().merges
    assert set(made.replaces) == study.keys and made.deliveries == len(study.told)
    assert made.object_key < min(study.keys), "or the index would not move to it"
    assert not study.merge().merges, "nothing is left to merge"
    early = study.collect()
    assert early.ok and not early.collected and len(early.waiting) == len(study.keys)
    assert all("is not at dr" in line for line in early.waiting)
    assert study.held(sites[0]).keys() == {*study.keys, made.object_key}
    with consuming(pack_world):
        pass
    assert all(study.named(site) == {made.object_key} for site in sites)
    may_go = study.collect(is_applied=False)
    assert {one.object_key for one in may_go.collected} == study.keys
    assert {p.object_key for p in listed_packs(pack_world.engines, [study.uid]) if p.is_superfluous
            } == study.keys  # fmt: skip
    assert study.held(sites[1]).keys() == {*study.keys, made.object_key}, "only said"
    gone = study.collect()
    assert gone.ok and {one.object_key for one in gone.collected} == study.keys
    assert gone.size_bytes == sum(pack.object_size_bytes for pack in study.packs)
    for site in sites:
        assert study.held(site) == {made.object_key: data_of(study.told)}
        study.assert_whole(site)
        assert rehash_bucket(site, print).wrong == ()
        fetched = fetch(site, study.uid, tmp_path / site.name)
        assert fetched.ok and (fetched.packs, fetched.requests) == (1, 1)
        for one in study.told:
            path = tmp_path / site.name / f"{one.event.content.sop_instance_uid}.dcm"
            assert path.read_bytes() == part10_head(one.event) + one.data
        records = {one.key for one in site.object_store.list(COLLECTED_PREFIX)}
        assert records >= {collected_key(key) for key in study.keys}
    again = study.collect()
    assert again.ok and not again.collected and not again.waiting


def test_history_that_names_collected_packs_is_read_again(
    pack_world: World, sites: tuple[StoreSite, StoreSite]
) -> None:
    study = study_of(pack_world, "2.25.88.2", parts=2)
    study.merge()
    with consuming(pack_world):
        pass
    assert len(study.collect().collected) == 2
    for name in (dr_replica.SPEC.name, metadata_index.SPEC.name):
        rewind(pack_world.settings, name, None, False, None, tell=print)
    # As if the second site had to begin anew: what is collected holds nobody up.
    for key in study.held(sites[1]):
        remove_object(pack_world.settings.dr.object_store, key)
    with consuming(pack_world):
        pass
    for site in sites:
        study.assert_whole(site)
        assert len(study.held(site)) == 1


class _CutOff(Exception):
    """The process ends here."""


def test_a_collection_that_is_cut_off_anywhere_is_finished(
    pack_world: World, sites: tuple[StoreSite, StoreSite]
) -> None:
    study = study_of(pack_world, "2.25.88.3", parts=3)
    study.merge()
    with consuming(pack_world):
        pass
    cuts = 0

    def run_until(step: int) -> bool:
        said = 0

        def tell(text: str) -> None:
            nonlocal said
            said += not text.startswith("reading")
            if said > step:
                raise _CutOff(text)

        try:
            study.collect(tell=tell)
        except _CutOff:
            return False
        return True

    # Three steps a pack: recorded, gone there, gone here. Each run gets one step further.
    while not run_until(cuts % 3):
        cuts += 1
        study.assert_whole(sites[0])
        study.assert_whole(sites[1])
    assert cuts >= 3
    for site in sites:
        study.assert_whole(site)
        assert len(study.held(site)) == 1


def test_what_is_left_at_the_second_site_alone_goes_too(
    pack_world: World, sites: tuple[StoreSite, StoreSite]
) -> None:
    study = study_of(pack_world, "2.25.88.4", parts=2)
    study.merge()
    with consuming(pack_world):
        pass
    first = sorted(study.keys)[0]
    kept = b"".join(sites[1].object_store.open(first))
    assert len(study.collect().collected) == 2
    # A copy that was under way while both were removed.
    overwrite_object(pack_world.settings.dr.object_store, first, kept)
    (left,) = study.collect().collected
    assert left.object_key == first
    assert len(study.held(sites[1])) == 1
    study.assert_whole(sites[1])


@pytest.mark.parametrize("at", ["primary", "dr"])
def test_nothing_goes_on_the_word_of_a_damaged_pack(
    pack_world: World, sites: tuple[StoreSite, StoreSite], at: str
) -> None:
    study = study_of(pack_world, f"2.25.88.5{len(at)}", parts=2)
    (made,) = study.merge().merges
    with consuming(pack_world):
        pass
    site = sites[0] if at == "primary" else sites[1]
    store = getattr(pack_world.settings, at).object_store
    whole = b"".join(site.object_store.open(made.object_key))
    metadata = site.object_store.head(made.object_key)
    assert metadata is not None
    at_bit = study.packs[0].members[0].offset_bytes + 400
    damaged = whole[:at_bit] + bytes([whole[at_bit] ^ 1]) + whole[at_bit + 1 :]
    overwrite_object(store, made.object_key, damaged)
    answer = study.collect()
    assert not answer.ok and not answer.collected and len(answer.waiting) == 2
    assert any(f"{at}: {made.object_key}" in line for line in answer.damaged)
    listed = {one.key for each in sites for one in each.object_store.list("packs/")}
    assert study.keys <= listed, "not one of them went"
    remove_object(store, made.object_key)
    sha256 = made.object_key.rpartition("/")[2].removesuffix(".tar")
    site.object_store.put_buffers(made.object_key, [whole], sha256, metadata.metadata)
    assert len(study.collect().collected) == 2
    study.assert_whole(sites[0])
    study.assert_whole(sites[1])
