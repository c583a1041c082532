"""`hilum verify --bytes`: reads every archived byte again and compares it with what was promised.

Invariant: a pack is right when its own sha256 is its key and each member's data set has the
sha256 that the pack's manifest names; nothing but the bytes themselves is believed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from contracts.failures import RetryableError
from contracts.pack_records import collected_key
from infra.seams import ObjectStore, StoreSite
from operations.packs.whole import read_whole

# sha256 and socket reads both release the GIL; more threads than this gained nothing on two cores.
WORKERS = 4
READ_ATTEMPTS, AGAIN_AFTER_S = 3, 0.5


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
        keys = [entry.key for entry in stored]
        for entry, faults in zip(stored, pool.map(partial(_all_faults, site), keys), strict=True):
            done_bytes += entry.size_bytes
            wrong.extend(faults)
            tell(f"re-hashing {site.name}: {done_bytes >> 20} of {total_bytes >> 20} MiB")
    return Rehash(site.name, done_bytes, tuple(wrong))


def or_not_given_out(store: ObjectStore, key: str, read: Callable[[], Iterable[str]]) -> list[str]:
    """The faults that `read` finds in one object; that it cannot be read any more is one.

    A store that finds rot itself (MinIO does) answers as a busy one would: only that it does so
    again and again for this object, and lists it all the same, tells them apart. Raises
    RetryableError where the store itself went away.
    """
    problem = ""
    for attempt in range(READ_ATTEMPTS):
        try:
            return list(read())
        except RetryableError as cause:
            problem = str(cause)
        time.sleep(AGAIN_AFTER_S * (attempt + 1))
    next(iter(store.list(key)), None)
    return [f"{key}: the store does not give it out ({problem})"]


def _all_faults(site: StoreSite, key: str) -> list[str]:
    return or_not_given_out(site.object_store, key, partial(_faults, site, key))


def _faults(site: StoreSite, key: str) -> tuple[str, ...]:
    try:
        return read_whole(site.object_store, key).faults
    except KeyError:
        is_collected = site.object_store.head(collected_key(key)) is not None
        return () if is_collected else (f"{key}: was listed and is gone",)
