"""The object store's contract, held on MinIO and on versitygw alike."""

from __future__ import annotations

import base64
import hashlib
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from contracts.failures import FatalError, RetryableError
from contracts.pack_records import collected_key
from infra.object_body import BLOCK_BYTES, JOIN_BYTES, BufferBody, FileBody, parts
from infra.object_store import SHA256_METADATA, S3ObjectStore
from infra.object_store_upload import MIB, PART_BYTES, Uploads
from infra.pack_removal import PackRemoval
from infra.settings import ObjectStoreSettings
from tests.infra.s3_stores import a_file
from tests.infra.unconditional_s3 import unconditional
from tests.polling import WITHIN_S, eventually

# The real limit is larger; where parts begin is all the same to them.
SINGLE_PUT_BYTES_MAX = 20 * MIB
ARCHIVED_AT = {"hilum-archived-at": "2026-03-14T09:26:53.589793+00:00"}


@pytest.fixture(autouse=True)
def _parts_begin_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.object_store.SINGLE_PUT_BYTES_MAX", SINGLE_PUT_BYTES_MAX)


@pytest.mark.parametrize(
    "size_bytes",
    [0, 1, 100_000, SINGLE_PUT_BYTES_MAX, SINGLE_PUT_BYTES_MAX + 1, 3 * PART_BYTES],
)
def test_what_was_put_is_there_with_size_checksum_and_metadata(
    store: S3ObjectStore, tmp_path: Path, size_bytes: int
) -> None:
    path, sha256 = a_file(tmp_path, size_bytes)
    key = f"packs/{sha256[:2]}/{sha256}.tar"
    stored = store.put_file(key, path, sha256, ARCHIVED_AT)
    assert (stored.bucket, stored.key) == (store.bucket, key)
    assert (stored.size_bytes, stored.sha256) == (size_bytes, sha256)
    assert stored.metadata == {**ARCHIVED_AT, SHA256_METADATA: sha256}
    assert store.head(key) == stored
    assert hashlib.sha256(b"".join(store.open(key))).hexdigest() == sha256
    assert [found.key for found in store.list("packs/")] == [key]


def test_a_second_put_of_the_same_bytes_keeps_the_first_objects_metadata(
    store: S3ObjectStore, tmp_path: Path
) -> None:
    path, sha256 = a_file(tmp_path, 5_000)
    first = store.put_file("packs/a.tar", path, sha256, ARCHIVED_AT)
    again = store.put_file("packs/a.tar", path, sha256, {"hilum-archived-at": "later"})
    assert again == first
    assert again.metadata["hilum-archived-at"] == ARCHIVED_AT["hilum-archived-at"]


@pytest.mark.parametrize("size_bytes", [5_000, SINGLE_PUT_BYTES_MAX + 5])
def test_other_bytes_under_a_taken_key_are_fatal_and_change_nothing(
    store: S3ObjectStore, tmp_path: Path, size_bytes: int
) -> None:
    path, sha256 = a_file(tmp_path, 5_000)
    other, other_sha256 = a_file(tmp_path, size_bytes, seed=2)
    store.put_file("packs/a.tar", path, sha256, ARCHIVED_AT)
    with pytest.raises(FatalError, match="another object is there"):
        store.put_file("packs/a.tar", other, other_sha256, ARCHIVED_AT)
    assert hashlib.sha256(store.read("packs/a.tar")).hexdigest() == sha256


def test_a_key_that_is_taken_in_between_is_not_overwritten(
    s3_settings: ObjectStoreSettings, store: S3ObjectStore, tmp_path: Path
) -> None:
    """The PUT itself carries If-None-Match, for the time between HEAD and PUT."""
    path, sha256 = a_file(tmp_path, 5_000)
    other, other_sha256 = a_file(tmp_path, 5_000, seed=2)
    uploads = Uploads(s3_settings, store._uploads._pool)
    assert uploads.put("packs/a.tar", FileBody(path), sha256, {}) is True
    for put in (uploads.put, uploads.put_in_parts):
        assert put("packs/a.tar", FileBody(other), other_sha256, {}) is False
        assert hashlib.sha256(store.read("packs/a.tar")).hexdigest() == sha256
    assert uploads.put_in_parts("packs/b.tar", FileBody(path), sha256, {}) is True
    assert list(uploads.open_uploads()) == [], "the one that came too late was aborted"


def test_a_store_without_conditions_is_asked_without_them(
    s3_settings: ObjectStoreSettings, store: S3ObjectStore, tmp_path: Path
) -> None:
    path, sha256 = a_file(tmp_path, 5_000)
    with unconditional(s3_settings.endpoint) as (endpoint, refused):
        older = S3ObjectStore(s3_settings.model_copy(update={"endpoint": endpoint}))
        for key in ("packs/a.tar", "packs/b.tar"):
            assert older.put_file(key, path, sha256, ARCHIVED_AT) == store.head(key)
        assert refused == ["PUT"], "asked once, then known"
        other, other_sha256 = a_file(tmp_path, 5_000, seed=2)
        with pytest.raises(FatalError, match="another object is there"):
            older.put_file("packs/a.tar", other, other_sha256, ARCHIVED_AT)
    assert hashlib.sha256(store.read("packs/a.tar")).hexdigest() == sha256


@pytest.mark.parametrize("size_bytes", [5_000, SINGLE_PUT_BYTES_MAX + 5])
def test_bytes_that_differ_from_the_promised_sha256_are_not_stored(
    store: S3ObjectStore, tmp_path: Path, size_bytes: int
) -> None:
    path, _ = a_file(tmp_path, size_bytes)
    with pytest.raises(RetryableError):
        store.put_file("packs/a.tar", path, "ab" * 32, ARCHIVED_AT)
    assert store.head("packs/a.tar") is None
    assert list(store._uploads.open_uploads()) == [], "the upload was aborted"


def test_a_pack_is_removed_only_where_its_record_stands(
    s3_settings: ObjectStoreSettings, store: S3ObjectStore, tmp_path: Path
) -> None:
    path, sha256 = a_file(tmp_path, 5_000)
    key = f"packs/{sha256[:2]}/{sha256}.tar"
    store.put_file(key, path, sha256, {})
    store.put_file("proofs/a", path, sha256, {})
    removal = PackRemoval(s3_settings)
    with pytest.raises(FatalError, match="no record"):
        removal.remove(key)
    with pytest.raises(ValueError, match="no key of a pack"):
        removal.remove("proofs/a")
    record = b"{}"
    store.put_buffers(collected_key(key), [record], hashlib.sha256(record).hexdigest(), {})
    for _ in range(2):
        removal.remove(key)
        assert [found.key for found in store.list("")] == [collected_key(key), "proofs/a"]


def test_ranges_are_read_exactly(store: S3ObjectStore, tmp_path: Path) -> None:
    path, sha256 = a_file(tmp_path, 300_000)
    store.put_file("packs/a.tar", path, sha256, {})
    data = path.read_bytes()
    assert b"".join(store.open("packs/a.tar", 1_000, 200_000)) == data[1_000:201_000]
    assert list(store.open("packs/a.tar", 10, 0)) == []
    assert store.read("packs/a.tar", 1_000, 512) == data[1_000:1_512]
    assert store.read("packs/a.tar", 0, 1) == data[:1]
    assert store.read("packs/a.tar", 299_990) == data[299_990:]
    assert store.read("packs/a.tar", 299_990, 512) == data[299_990:]
    assert store.read("packs/a.tar", 10, 0) == b""
    assert store.read("packs/a.tar") == data


def test_what_is_not_there_is_none_or_a_key_error(store: S3ObjectStore) -> None:
    assert store.head("packs/none.tar") is None
    with pytest.raises(KeyError):
        store.read("packs/none.tar")
    with pytest.raises(KeyError):
        list(store.open("packs/none.tar"))
    assert list(store.list("packs/")) == []


def test_a_listing_goes_on_behind_a_thousand_keys(store: S3ObjectStore, tmp_path: Path) -> None:
    path, sha256 = a_file(tmp_path, 10)
    keys = [f"packs/{number:04d}.tar" for number in range(1_050)]
    for key in keys:
        store._uploads.put(key, FileBody(path), sha256, {})
    assert [found.key for found in store.list("packs/")] == keys


def test_stale_uploads_are_aborted_and_young_ones_kept(
    store: S3ObjectStore, tmp_path: Path
) -> None:
    path, sha256 = a_file(tmp_path, 10)
    store.put_file("packs/a.tar", path, sha256, {})
    for key in ("packs/one.tar", "packs/two.tar"):
        store._uploads._send("POST", key, query={"uploads": ""})
    assert store.abort_stale_uploads(timedelta(days=1)) == 0
    assert {upload.key for upload in store._uploads.open_uploads()} == {
        "packs/one.tar",
        "packs/two.tar",
    }
    aborted: list[int] = []

    def are_aborted() -> bool:
        aborted.append(store.abort_stale_uploads(timedelta(0)))
        return sum(aborted) == 2

    eventually(are_aborted, "the uploads are aborted")  # stores keep whole seconds
    assert list(store._uploads.open_uploads()) == []
    assert store.head("packs/a.tar") is not None


def test_many_threads_share_one_store(store: S3ObjectStore, tmp_path: Path) -> None:
    files = [a_file(tmp_path, 50_000 + number, seed=number) for number in range(24)]
    found: list[str | None] = []

    def put(path: Path, sha256: str) -> None:
        found.append(store.put_file(f"packs/{sha256}.tar", path, sha256, {}).sha256)

    threads = [threading.Thread(target=put, args=file) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
    assert sorted(map(str, found)) == sorted(sha256 for _, sha256 in files)


def test_the_checksum_is_kept_by_the_store_itself(store: S3ObjectStore, tmp_path: Path) -> None:
    """HEAD's checksum is what the store computed, not only what we wrote into the metadata."""
    path, sha256 = a_file(tmp_path, 5_000)
    store.put_file("packs/a.tar", path, sha256, {})
    found = store._client.stat_object(
        store.bucket, "packs/a.tar", extra_headers={"x-amz-checksum-mode": "ENABLED"}
    )
    assert found.metadata is not None
    checksum = {k.lower(): v for k, v in found.metadata.items()}["x-amz-checksum-sha256"]
    assert base64.b64decode(checksum).hex() == sha256


@pytest.mark.parametrize("size_bytes", [0, 3 * MIB, SINGLE_PUT_BYTES_MAX + 7])
def test_buffers_are_stored_as_their_bytes_in_order(store: S3ObjectStore, size_bytes: int) -> None:
    buffers = buffers_of(size_bytes)
    whole = b"".join(buffers)
    sha256 = hashlib.sha256(whole).hexdigest()
    stored = store.put_buffers("packs/a.tar", buffers, sha256, ARCHIVED_AT)
    assert (stored.size_bytes, stored.sha256) == (size_bytes, sha256)
    assert store.read("packs/a.tar") == whole


def test_bytes_are_checked_by_the_store_without_a_signature_over_them(
    store: S3ObjectStore,
) -> None:
    """From the second PUT on only the checksum, which is signed, stands for the bytes."""
    good, sha256 = (
        buffers_of(1_000_000),
        hashlib.sha256(b"".join(buffers_of(1_000_000))).hexdigest(),
    )
    store.put_buffers("packs/a.tar", good, sha256, {})
    assert store._uploads._is_checking
    damaged = [*good[:-1], bytes(len(good[-1]))]
    with pytest.raises(RetryableError):
        store.put_buffers("packs/b.tar", damaged, sha256, {})
    assert store.head("packs/b.tar") is None
    assert store.put_buffers("packs/b.tar", good, sha256, {}).sha256 == sha256


def test_small_buffers_travel_together_and_large_ones_are_not_copied() -> None:
    small, large = b"s" * 512, b"l" * (BLOCK_BYTES + 5)
    blocks = list(BufferBody([small, small, large, small]).blocks())
    assert [len(block) for block in blocks] == [1_024, BLOCK_BYTES, 5, 512]
    assert b"".join(blocks) == small + small + large + small
    assert all(isinstance(block, memoryview) and block.obj is large for block in blocks[1:3])
    many = list(BufferBody([small] * 1_000).blocks())
    assert all(JOIN_BYTES <= len(block) < JOIN_BYTES + 512 for block in many[:-1])
    assert [part.size_bytes for part in parts(BufferBody([large] * 3), BLOCK_BYTES + 1)] == [
        BLOCK_BYTES + 5
    ] * 3


def buffers_of(size_bytes: int) -> list[bytes]:
    """Small and large ones, as a pack has them."""
    found, left, seed = [], size_bytes, 0
    while left:
        block = hashlib.shake_256(str(seed).encode()).digest(
            min(left, (512, 700, 400_000)[seed % 3])
        )
        found.append(block)
        left, seed = left - len(block), seed + 1
    return found
