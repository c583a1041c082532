"""A study comes back as it was sent: one request for each pack, nothing unchecked on the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydicom import dcmread

from consumers.index_writer import IndexWriter
from consumers.part10 import part10_head
from contracts.events import PackArchived
from contracts.failures import FatalError
from infra.clickhouse import ClickHouseDatabase
from infra.clock import SystemClock
from infra.migrate import migrate
from infra.object_store import S3ObjectStore
from infra.seams import StoreSite
from infra.settings import ObjectStoreSettings, Settings
from operations.packs.fetch import fetch, find_wanted, runs_of
from tests.consumers import story
from tests.consumers.damage import overwrite_object, remove_object
from tests.consumers.story import Delivery
from tests.engines import isolated_settings
from tests.operations.pack_world import STUDY, of_one_study
from tests.operations.request_count import CountingProxy

INSTANCES = 1_000
PACKS = 8


@dataclass
class Archived:
    """A study of a thousand instances in eight packs, and its index."""

    told: Sequence[Delivery]
    packs: Sequence[PackArchived]
    site: StoreSite
    store: ObjectStoreSettings

    def counted(self) -> tuple[StoreSite, CountingProxy]:
        """The same site by a line on which requests are counted."""
        host, _, port = self.store.endpoint.rpartition(":")
        proxy = CountingProxy(host, int(port))
        own = self.store.model_copy(update={"endpoint": f"127.0.0.1:{proxy.port}"})
        return StoreSite(self.site.name, S3ObjectStore(own), self.site.database), proxy

    def part10(self) -> dict[str, bytes]:
        """Each file by its name, as it must come back."""
        return {
            f"{d.event.content.sop_instance_uid}.dcm": part10_head(d.event) + d.data
            for d in self.told
        }


@pytest.fixture(scope="module")
def archived(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    scratch = tmp_path_factory.mktemp("fetch")
    settings = isolated_settings(engines, scratch).primary
    migrate(settings.clickhouse)
    database = ClickHouseDatabase(settings.clickhouse)
    store = S3ObjectStore(settings.object_store)
    store.ensure_bucket()
    told = of_one_study(INSTANCES)
    size = INSTANCES // PACKS
    packs = [
        pack
        for start in range(0, INSTANCES, size)
        for pack in story.store_packs(told[start : start + size], store, settings.name, scratch)
    ]
    IndexWriter(database, SystemClock()).write(received=[d.event for d in told], archived=packs)
    site = StoreSite(settings.name, store, database)
    yield Archived(told, packs, site, settings.object_store)
    database.command(f"DROP DATABASE {database.name}")
    database.close()


def read_all(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_study_of_a_thousand_instances_takes_one_request_for_each_pack(
    archived: Archived, tmp_path: Path
) -> None:
    site, proxy = archived.counted()
    lines: list[str] = []
    answer = fetch(site, STUDY, tmp_path, tell=lines.append)
    proxy.close()
    assert answer.ok and answer.instances == INSTANCES and answer.packs == PACKS
    asked = [path.partition("/packs/")[2].partition("?")[0] for path in proxy.paths]
    keys = sorted(pack.object_key.removeprefix("packs/") for pack in archived.packs)
    assert sorted(asked) == keys and answer.requests == PACKS
    files = read_all(tmp_path)
    assert files == archived.part10()
    told = archived.told[0]
    read = dcmread(tmp_path / f"{told.event.content.sop_instance_uid}.dcm")
    assert read.file_meta.MediaStorageSOPInstanceUID == told.event.content.sop_instance_uid
    assert len(lines) == PACKS and lines[-1].startswith(f"fetched {INSTANCES} instances")


def test_single_instances_take_a_range_each_and_no_more(archived: Archived, tmp_path: Path) -> None:
    uid = archived.told[501].event.content.sop_instance_uid
    site, proxy = archived.counted()
    answer = fetch(site, uid, tmp_path)
    proxy.close()
    assert (answer.ok, answer.requests, len(proxy.paths)) == (True, 1, 1)
    (file,) = read_all(tmp_path).items()
    assert file == (f"{uid}.dcm", archived.part10()[f"{uid}.dcm"])
    member = next(m for p in archived.packs for m in p.members if m.content.sop_instance_uid == uid)
    assert answer.size_bytes == member.length_bytes == len(file[1])


def test_far_members_of_a_pack_are_asked_for_one_by_one(archived: Archived) -> None:
    wanted = find_wanted(archived.site.database, STUDY)
    pack = [one for one in wanted if one.object_key == wanted[0].object_key]
    assert [len(run) for run in runs_of(pack)] == [len(pack)]
    # The first and the last, with a gap between them that costs more than a request.
    far = [pack[0], replace(pack[-1], offset_bytes=pack[-1].offset_bytes + 8 * 1024 * 1024)]
    assert [len(run) for run in runs_of(far)] == [1, 1]
    near = [pack[0], pack[5]]
    assert [len(run) for run in runs_of(near)] == [2]


def test_damage_is_named_and_leaves_no_file(archived: Archived, tmp_path: Path) -> None:
    store = archived.site.object_store
    flipped, missing = archived.packs[0], archived.packs[1]
    kept = {p.object_key: b"".join(store.open(p.object_key)) for p in (flipped, missing)}
    metadata = {p.object_key: store.head(p.object_key) for p in (flipped, missing)}
    member = flipped.members[7]
    at = member.offset_bytes + member.length_bytes - 1
    whole = bytearray(kept[flipped.object_key])
    whole[at] ^= 1
    overwrite_object(archived.store, flipped.object_key, bytes(whole))
    remove_object(archived.store, missing.object_key)
    try:
        answer = fetch(archived.site, STUDY, tmp_path)
        assert not answer.ok and answer.instances == INSTANCES - 1 - len(missing.members)
        reasons = dict(line.split(": ", 1) for line in answer.wrong)
        name = f"{member.content.sop_instance_uid}.dcm"
        assert "holds other bytes" in reasons.pop(name)
        assert set(reasons) == {f"{one.content.sop_instance_uid}.dcm" for one in missing.members}
        assert all("is not in the bucket" in why for why in reasons.values())
        right = archived.part10()
        files = read_all(tmp_path)
        assert len(files) == answer.instances
        assert all(right[name] == data for name, data in files.items()), "and no part of one"
    finally:
        for pack in (flipped, missing):
            remove_object(archived.store, pack.object_key)
            found = metadata[pack.object_key]
            assert found is not None
            data = kept[pack.object_key]
            sha256 = hashlib.sha256(data).hexdigest()
            store.put_buffers(pack.object_key, [data], sha256, found.metadata)


def test_what_the_index_does_not_know_is_said(archived: Archived, tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="hilum where"):
        fetch(archived.site, "2.25.404", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FatalError, match="--to"):
        fetch(archived.site, STUDY, tmp_path / "file")
