"""Merged packs replace small ones; what is superfluous goes, and never a delivery's last place."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from consumers import dr_replica, metadata_index
from consumers.part10 import part10_head
from contracts.events import PackArchived
from contracts.pack_records import COLLECTED_PREFIX, collected_key
from infra.seams import StoreSite
from operations.custody_judge import redundant_bytes
from operations.custody_sources import bucket
from operations.packs.collect import Collected, collect
from operations.packs.fetch import fetch
from operations.packs.merge import Merged, MergeOptions, merge
from operations.packs.survey import listed_packs
from operations.packs.whole import read_whole, sha256_of_key
from operations.rehash import rehash_bucket
from operations.replay.rebuild import RebuildOptions, drop_kept, rebuild
from tests.consumers.damage import overwrite_object, remove_object
from tests.consumers.story import Delivery
from tests.consumers.world import World, member_of
from tests.operations.pack_world import data_of, of_one_study, patiently, stored

PART = 3  # deliveries of a small pack
STUDIES = {
    "whole": 4,
    "history": 2,
    "cut off": 2,
    "left over": 2,
    "damaged at primary": 2,
    "damaged at dr": 2,
}


@dataclass
class Study:
    """A study that came in small packs, and the one that holds them all since."""

    world: World
    uid: str
    told: Sequence[Delivery]
    packs: Sequence[PackArchived]
    merged_key: str = ""

    @property
    def keys(self) -> set[str]:
        """Of the small packs."""
        return {pack.object_key for pack in self.packs}

    def collect(
        self, is_applied: bool = True, tell: Callable[[str], None] = lambda text: None
    ) -> Collected:
        return patiently(lambda: collect(self.world.engines, (self.uid,), is_applied, tell))

    def there(self, site: StoreSite) -> set[str]:
        """Those of the study's packs that a bucket has."""
        wanted = {*self.keys, self.merged_key}
        return {one.key for one in site.object_store.list("packs/")} & wanted

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

    def assert_whole(self, site: StoreSite, directory: Path) -> None:
        """Every delivery is in the bucket, and every file is where the index says, as it came."""
        held: dict[str, str] = {}
        for key in self.there(site):
            whole = read_whole(site.object_store, key)
            assert whole.faults == ()
            held |= {e.delivery_id: e.content.content_sha256 for e in whole.events}
        assert held == {d.event.delivery_id: d.event.content.content_sha256 for d in self.told}
        to = directory / f"{site.name}-{uuid.uuid4().hex}"
        assert fetch(site, self.uid, to).ok
        assert {path.name: path.read_bytes() for path in to.iterdir()} == {
            f"{d.event.content.sop_instance_uid}.dcm": part10_head(d.event) + d.data
            for d in self.told
        }


def study_of(world: World, uid: str, parts: int) -> Study:
    told = of_one_study(parts * PART, uid)
    packs = [p for start in range(0, len(told), PART) for p in stored(world, told[start:][:PART])]
    world.publish([*(d.event for d in told), *packs])
    return Study(world, uid, told, packs)


def merge_of(world: World, uids: Sequence[str], **options: Any) -> Merged:
    wanted = MergeOptions(**{"packs_min": 2, "idle": timedelta(0), "is_applied": True, **options})
    return patiently(lambda: merge(world.engines, replace(wanted, studies=tuple(uids)), print))


@pytest.fixture(scope="module")
def studies(pack_world: World) -> Iterator[dict[str, Study]]:
    """Studies that were merged; both consumers of packs run on."""
    made = {
        name: study_of(pack_world, f"2.25.88.{number}", parts)
        for number, (name, parts) in enumerate(STUDIES.items())
    }
    uids = [study.uid for study in made.values()]
    engines = pack_world.engines
    listing = {one.key for one in engines.primary.object_store.list("")}
    (said,) = merge_of(pack_world, uids, is_applied=False, packs_min=3).merges
    assert set(said.replaces) == made["whole"].keys and said.deliveries == len(made["whole"].told)
    assert not merge_of(pack_world, uids, idle=timedelta(days=36_500)).merges, "not at rest so long"
    assert {one.key for one in engines.primary.object_store.list("")} == listing, "only said"
    assert merge_of(pack_world, uids).ok
    for row in patiently(lambda: listed_packs(engines, uids)):
        for study in made.values():
            if row.study_instance_uid == study.uid and row.object_key not in study.keys:
                assert not study.merged_key and row.deliveries == len(study.told)
                study.merged_key = row.object_key
    assert not merge_of(pack_world, uids).merges, "nothing is left to merge"
    told = [one for study in made.values() for one in study.told]
    ids = data_of(told).keys()
    archived = [m for m in bucket(engines.primary.object_store).archived if m.delivery_id in ids]
    assert redundant_bytes(archived) == sum(len(one.data) for one in told), "each is there twice"
    early = patiently(lambda: collect(engines, uids, True, print))
    assert early.ok and not early.collected and len(early.waiting) == sum(STUDIES.values())
    assert all("is not at dr" in line for line in early.waiting)
    with member_of(pack_world, dr_replica.SPEC), member_of(pack_world, metadata_index.SPEC):
        wait_read(pack_world)
        yield made


def wait_read(world: World) -> None:
    """Both consumers have read all there is."""
    world.wait_committed(dr_replica.SPEC)
    world.wait_committed(metadata_index.SPEC)


@pytest.fixture
def sites(pack_world: World) -> tuple[StoreSite, StoreSite]:
    return pack_world.engines.primary, pack_world.engines.dr


def test_many_small_packs_become_one_and_go(
    studies: dict[str, Study], sites: tuple[StoreSite, StoreSite], tmp_path: Path
) -> None:
    study = studies["whole"]
    assert study.merged_key < min(study.keys), "or the index would not move to it"
    assert all(study.named(site) == {study.merged_key} for site in sites)
    may_go = study.collect(is_applied=False)
    assert {one.object_key for one in may_go.collected} == study.keys
    rows = patiently(lambda: listed_packs(study.world.engines, [study.uid]))
    assert {row.object_key for row in rows if row.is_superfluous} == study.keys
    assert all(study.there(site) == {*study.keys, study.merged_key} for site in sites), "only said"
    gone = study.collect()
    assert gone.ok and {one.object_key for one in gone.collected} == study.keys
    assert gone.size_bytes == sum(pack.object_size_bytes for pack in study.packs)
    for site in sites:
        assert study.there(site) == study.named(site) == {study.merged_key}
        study.assert_whole(site, tmp_path)
        records = {one.key for one in site.object_store.list(COLLECTED_PREFIX)}
        assert records >= {collected_key(key) for key in study.keys}
    again = study.collect()
    assert again.ok and not again.collected and not again.waiting


def test_history_that_names_collected_packs_holds_nobody_up(
    studies: dict[str, Study], sites: tuple[StoreSite, StoreSite], tmp_path: Path
) -> None:
    study = studies["history"]
    (merged,) = [
        pack for pack in study.world.bus.events(PackArchived) if pack.object_key == study.merged_key
    ]
    assert len(study.collect().collected) == len(study.keys)
    # As if the second site had to begin anew, from the topic's first record on.
    remove_object(study.world.settings.dr.object_store, study.merged_key)
    study.world.publish([*study.packs, merged])
    wait_read(study.world)
    for site in sites:
        assert study.there(site) == study.named(site) == {study.merged_key}
        study.assert_whole(site, tmp_path)


class _CutOffError(Exception):
    """The process ends here."""


def test_a_collection_that_is_cut_off_anywhere_is_finished(
    studies: dict[str, Study], sites: tuple[StoreSite, StoreSite], tmp_path: Path
) -> None:
    study = studies["cut off"]

    def cut_after(steps: int) -> Callable[[str], None]:
        said: list[str] = []

        def tell(text: str) -> None:
            if not text.startswith("reading"):
                said.append(text)
            if len(said) == steps:
                raise _CutOffError(text)

        return tell

    # Of one pack: its records, the second site's copy, ours. Each run comes one step further.
    for steps, ended in enumerate(("recorded", "at dr", "at primary"), 1):
        with pytest.raises(_CutOffError, match=ended):
            study.collect(tell=cut_after(steps))
        for site in sites:
            study.assert_whole(site, tmp_path)
    assert len(study.there(sites[0])) == len(study.there(sites[1])) == len(study.keys)
    assert len(study.collect().collected) == len(study.keys) - 1
    for site in sites:
        assert study.there(site) == {study.merged_key}
        study.assert_whole(site, tmp_path)


def test_what_is_left_at_the_second_site_alone_goes_too(
    studies: dict[str, Study], sites: tuple[StoreSite, StoreSite], tmp_path: Path
) -> None:
    study = studies["left over"]
    first = min(study.keys)
    kept = b"".join(sites[1].object_store.open(first))
    assert len(study.collect().collected) == len(study.keys)
    # A copy that was under way while both were removed.
    overwrite_object(study.world.settings.dr.object_store, first, kept)
    (left,) = study.collect().collected
    assert left.object_key == first and study.there(sites[1]) == {study.merged_key}
    study.assert_whole(sites[1], tmp_path)


@pytest.mark.parametrize("at", ["primary", "dr"])
def test_nothing_goes_on_the_word_of_a_damaged_pack(
    studies: dict[str, Study], sites: tuple[StoreSite, StoreSite], at: str, tmp_path: Path
) -> None:
    study = studies[f"damaged at {at}"]
    site = sites[0] if at == "primary" else sites[1]
    store = getattr(study.world.settings, at).object_store
    whole = b"".join(site.object_store.open(study.merged_key))
    before = site.object_store.head(study.merged_key)
    assert before is not None
    member = read_whole(site.object_store, study.merged_key).members[0]
    at_byte = member.offset_bytes + member.length_bytes - 1
    damaged = whole[:at_byte] + bytes([whole[at_byte] ^ 1]) + whole[at_byte + 1 :]
    overwrite_object(store, study.merged_key, damaged)
    answer = study.collect()
    assert not answer.ok and not answer.collected and len(answer.waiting) == len(study.keys)
    assert any(f"{at}: {study.merged_key}" in line for line in answer.damaged)
    assert all(study.keys <= study.there(each) for each in sites), "not one of them went"
    remove_object(store, study.merged_key)
    sha256 = sha256_of_key(study.merged_key)
    site.object_store.put_buffers(study.merged_key, [whole], sha256, before.metadata)
    assert len(study.collect().collected) == len(study.keys)
    for each in sites:
        study.assert_whole(each, tmp_path)


def test_every_source_says_the_same_afterwards(
    studies: dict[str, Study], sites: tuple[StoreSite, StoreSite]
) -> None:
    mine = {d.event.delivery_id for study in studies.values() for d in study.told}
    engines = next(iter(studies.values())).world.engines
    for site in sites:
        assert rehash_bucket(site, print).wrong == ()
        told = bucket(site.object_store)
        assert not told.unreadable
        members = [member for member in told.archived if member.delivery_id in mine]
        assert {member.delivery_id for member in members} == mine
        assert redundant_bytes(members) == 0, "each has one place again"
    for name in ("primary", "dr"):
        options = RebuildOptions(site=name, from_bucket=True, restart=True)
        answer = patiently(partial(rebuild, engines, options, print))
        assert answer.ok, answer.views
        drop_kept(engines, name, answer.shadow)
