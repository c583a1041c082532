"""`hilum verify --bytes`: reads every archived byte again and compares it with what was promised.

Invariant: a pack is right when its own sha256 is its key and each member's data set has the
sha256 that the pack's manifest names; nothing but the bytes themselves is believed.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

from infra.seams import ObjectStore, StoredObject, StoreSite
from operations.custody_sources import manifest_of

# sha256 and socket reads both release the GIL; more threads than this gained nothing on two cores.
WORKERS = 4
PREAMBLE_BYTES = 132
GROUP_LENGTH_ELEMENT_BYTES = 12


@dataclass(frozen=True, slots=True)
class Rehash:
    """What reading a bucket again found: bytes read, and a line for each thing wrong."""

    site: str
    bytes_checked: int
    wrong: tuple[str, ...]


def rehash_bucket(site: StoreSite, tell: Callable[[str], None]) -> Rehash:
    """Reads every pack of a site's bucket. Raises RetryableError when the store goes away."""
    store = site.object_store
    stored = [*store.list("packs/"), *store.list("quarantine/")]
    total_bytes = sum(entry.size_bytes for entry in stored)
    done_bytes = 0
    wrong: list[str] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for entry, faults in zip(
            stored, pool.map(lambda e: list(_faults(store, e)), stored), strict=True
        ):
            done_bytes += entry.size_bytes
            wrong.extend(faults)
            tell(f"re-hashing {site.name}: {done_bytes >> 20} of {total_bytes >> 20} MiB")
    return Rehash(site.name, done_bytes, tuple(wrong))


def _faults(store: ObjectStore, stored: StoredObject) -> Iterator[str]:
    hashed = _HashedStream(store.open(stored.key))
    try:
        found = _member_hashes(hashed)
        expected = {
            event.delivery_id: event.content.content_sha256 for event in manifest_of(store, stored)
        }
    except (tarfile.TarError, ValueError) as cause:
        yield f"{stored.key}: not readable as a pack ({type(cause).__name__})"
        return
    hashed.drain()
    if PurePosixPath(stored.key).stem != hashed.hexdigest():
        yield f"{stored.key}: the object's bytes are not those its key names"
    for delivery_id, sha256 in expected.items():
        if found.get(delivery_id) != sha256:
            yield f"{stored.key}: member {delivery_id} has other bytes than its manifest says"


def _member_hashes(stream: _HashedStream) -> dict[str, str]:
    hashes = {}
    with tarfile.open(fileobj=io.BufferedReader(stream, 1 << 20), mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None and member.name.endswith(".dcm"):
                hashes[member.name.removesuffix(".dcm")] = _data_set_sha256(content.read)
    return hashes


def _data_set_sha256(read: Callable[[int], bytes]) -> str:
    head = read(PREAMBLE_BYTES + GROUP_LENGTH_ELEMENT_BYTES)
    group_bytes = int.from_bytes(head[-4:], "little")
    read(group_bytes)
    digest = hashlib.sha256()
    while chunk := read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


class _HashedStream(io.RawIOBase):
    """An object's chunks as a raw stream that hashes what passes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._digest.update(chunk)
            self._rest = memoryview(chunk)
        taken = min(len(target), len(self._rest))
        target[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken

    def drain(self) -> None:
        for chunk in self._chunks:
            self._digest.update(chunk)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
