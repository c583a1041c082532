"""The bucket in memory behaves as an S3 store does: one suite for both.

Invariant: every test runs on the double and on the real engine, and asks the same of both.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from infra.object_store import S3ObjectStore
from infra.seams import ObjectStore
from infra.settings import Settings
from tests.infra.s3_stores import a_file
from tests.simulation.clock import SimulatedClock
from tests.simulation.store import MemoryStore


@pytest.fixture(params=["memory", "minio"])
def objects(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "memory":
        return MemoryStore("hilum", SimulatedClock())
    engines: Settings = request.getfixturevalue("engines")
    bucket = f"hilum-{uuid.uuid4().hex[:16]}"
    real = S3ObjectStore(engines.primary.object_store.model_copy(update={"bucket": bucket}))
    real.ensure_bucket()
    return real


def test_what_was_put_is_there_and_the_first_one_stays(
    objects: ObjectStore, tmp_path: Path
) -> None:
    path, sha256 = a_file(tmp_path, 100_000)
    key = f"packs/{sha256[:2]}/{sha256}.tar"
    first = objects.put_file(key, path, sha256, {"hilum-archived-at": "2026-01-01T00:00:00+00:00"})
    again = objects.put_buffers(key, [path.read_bytes()], sha256, {"hilum-archived-at": "later"})
    for stored in (first, again, objects.head(key)):
        assert stored is not None
        assert (stored.key, stored.size_bytes, stored.sha256) == (key, 100_000, sha256)
        assert stored.metadata["hilum-archived-at"] == "2026-01-01T00:00:00+00:00"
    data = path.read_bytes()
    assert objects.read(key, 10, 20) == data[10:30]
    assert b"".join(objects.open(key)) == data
    assert [found.key for found in objects.list("packs/")] == [key]


def test_what_was_never_put_is_not_there(objects: ObjectStore) -> None:
    assert objects.head("packs/00/none.tar") is None
    assert list(objects.list("packs/")) == []
    with pytest.raises(KeyError):
        objects.read("packs/00/none.tar")
