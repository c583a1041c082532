"""The custody proofs of one site as one store shows them, read and never written.

Invariant: what a store does not have is None or left out, and no other store answers for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from contracts.proof_records import PREFIX, parse_key, root_key, segment_key
from infra.seams import ObjectStore

READERS = 8
_READ_AHEAD = 64


class SiteProofs:
    """The segments and roots that a store listed for a site, in order."""

    def __init__(self, store: ObjectStore, site: str) -> None:
        self.site = site
        self.firsts: list[int] = []
        self.roots: list[int] = []
        self._store = store

    def segments(self, firsts: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
        """These segments' objects in the given order, some of them read ahead."""
        yield from self._read_all([(first, segment_key(self.site, first)) for first in firsts])

    def root_objects(self) -> Iterator[tuple[int, bytes | None]]:
        """Every root's object by its number."""
        yield from self._read_all([(number, root_key(self.site, number)) for number in self.roots])

    def segment(self, first: int) -> bytes | None:
        """One segment's object."""
        return self._read(segment_key(self.site, first))

    def root(self, number: int) -> bytes | None:
        """One root's object."""
        return self._read(root_key(self.site, number))

    def has(self, key: str) -> bool:
        """Whether the store has this object now."""
        return self._store.head(key) is not None

    def _read_all(self, places: Sequence[tuple[int, str]]) -> Iterator[tuple[int, bytes | None]]:
        with ThreadPoolExecutor(READERS) as pool:
            for at in range(0, len(places), _READ_AHEAD):
                part = places[at : at + _READ_AHEAD]
                found = pool.map(self._read, [key for _, key in part])
                yield from zip([number for number, _ in part], found, strict=True)

    def _read(self, key: str) -> bytes | None:
        try:
            return b"".join(self._store.open(key))
        except KeyError:
            return None


def list_proofs(store: ObjectStore) -> dict[str, SiteProofs]:
    """Every site that a store has proofs of. Raises RetryableError, FatalError."""
    sites: dict[str, SiteProofs] = {}
    for stored in store.list(PREFIX):
        place = parse_key(stored.key)
        if place is None:
            continue
        site, kind, number = place
        proofs = sites.setdefault(site, SiteProofs(store, site))
        (proofs.firsts if kind == "leaves" else proofs.roots).append(number)
    for proofs in sites.values():
        proofs.firsts.sort()
        proofs.roots.sort()
    return sites
