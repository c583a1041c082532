"""Bits that turn on the disks of a store: every object that has one is found and named."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.object_store import S3ObjectStore
from infra.seams import StoreSite
from infra.settings import ObjectStoreSettings
from operations.rehash import rehash_bucket
from tests.consumers import story
from tests.engines import start_engines
from tests.infra.s3_stores import versitygw

__all__ = ["versitygw"]
DELIVERIES = 60
FLIPS = 6


@pytest.fixture(params=["minio", "versitygw"])
def rotting(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ObjectStoreSettings, Path]]:
    """A store and the directory of its own disk."""
    if request.param == "versitygw":
        store: ObjectStoreSettings = request.getfixturevalue("versitygw")
        bucket = f"rot-{random.SystemRandom().randrange(10**9)}"
        (disk,) = tmp_path_factory.getbasetemp().glob("versitygw[0-9]*")
        yield store.model_copy(update={"bucket": bucket}), disk / bucket
        return
    running = start_engines(tmp_path / "minio", only=lambda name: name == "minio-primary")
    store = running.settings.primary.object_store
    try:
        yield store, next((tmp_path / "minio").glob("minio*")) / store.bucket
    finally:
        running.stop()


def flip_on_disk(place: Path, at_random: random.Random) -> None:
    """One bit of the bytes that the store keeps of one object."""
    file = place
    if place.is_dir():  # MinIO keeps an object as a directory
        file = max((p for p in place.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(file.read_bytes())
    # The middle of the object's bytes, whatever the store keeps before and behind them.
    at = len(data) // 2 + at_random.randrange(len(data) // 4)
    data[at] ^= 1 << at_random.randrange(8)
    file.write_bytes(data)


def test_every_flipped_object_is_found(
    rotting: tuple[ObjectStoreSettings, Path],
    tmp_path: Path,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    settings, disk = rotting
    record_property("seed", seed)
    store = S3ObjectStore(settings)
    store.ensure_bucket()
    packs = story.store_packs(story.deliveries(DELIVERIES), store, "primary", tmp_path)
    site = StoreSite("primary", store, None)  # type: ignore[arg-type]
    assert rehash_bucket(site, print).wrong == ()
    chance = random.Random(seed)
    rotten = {pack.object_key for pack in chance.sample(packs, FLIPS)}
    for key in rotten:
        flip_on_disk(disk / key, chance)
    wrong = rehash_bucket(site, print).wrong
    assert {line.partition(":")[0] for line in wrong} == rotten
    record_property("figure", f"{len(rotten)} of {FLIPS} flipped objects found")
