"""The custody proof's objects at both stores, the first one first.

Invariant: the second store has nothing that the first lacks; an object is written once, and a key
that is taken is told and never written.
"""

from __future__ import annotations

import hashlib

from contracts.failures import FatalError, PoisonError, RetryableError
from contracts.proof_records import PREFIX, parse_key, site_prefix
from infra.seams import ObjectStore, StoreSite


class ProofObjects:
    """Reads from the primary store, writes to both. Raises RetryableError, FatalError."""

    def __init__(self, primary: StoreSite, dr: StoreSite) -> None:
        self._primary = primary
        self._dr = dr

    def put(self, key: str, data: bytes) -> None:
        """On return both stores have the object, and no other one had the key.

        Raises RetryableError where it has: another process was there first.
        """
        for site in (self._primary, self._dr):
            _put(site.object_store, key, data)

    def read(self, key: str) -> bytes:
        """An object of the first store. Raises FatalError where it went away."""
        try:
            return b"".join(self._primary.object_store.open(key))
        except KeyError as cause:
            raise FatalError(
                f"reading {key}: listed, and not there", "run `hilum verify --proofs`"
            ) from cause

    def places(self, site: str) -> tuple[list[int], list[int]]:
        """First positions of the segments, and numbers of the roots, in order."""
        # Roots first: the leaves of one that is made meanwhile are there then.
        roots = self._numbers(site, "roots")
        return self._numbers(site, "leaves"), roots

    def sites(self) -> set[str]:
        """The sites that have proofs."""
        listed = self._primary.object_store.list(PREFIX)
        return {place[0] for stored in listed if (place := parse_key(stored.key))}

    def complete_second(self, site: str) -> None:
        """Copies what a writer that died had stored at the first site only.

        Raises FatalError where the second store goes on where the first ends.
        """
        there = self._keys(self._dr, site)
        here = self._keys(self._primary, site)
        if beyond := sorted(there - here):
            raise FatalError(
                f"continuing the proofs of {site}: {self._dr.name} has {beyond[0]},"
                f" {self._primary.name} has not",
                "find out what took it away (`hilum verify --proofs`), copy it back",
            )
        for key in sorted(here - there):
            _put(self._dr.object_store, key, self.read(key))

    def _numbers(self, site: str, kind: str) -> list[int]:
        listed = self._primary.object_store.list(f"{site_prefix(site)}{kind}/")
        return sorted(place[2] for stored in listed if (place := parse_key(stored.key)))

    def _keys(self, store: StoreSite, site: str) -> set[str]:
        return {stored.key for stored in store.object_store.list(site_prefix(site))}


def _put(store: ObjectStore, key: str, data: bytes) -> None:
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        store.put_buffers(key, [data], sha256, {})
    except PoisonError as cause:
        # Nothing of a chain may be left out, and no record is to blame for the object's size.
        raise FatalError(
            f"storing {key}: the store takes no object of {len(data)} bytes",
            "raise the limit of the object store or of the proxy before it",
        ) from cause
    except FatalError as cause:
        there = store.head(key)
        if there is None or there.sha256 == sha256:
            raise
        raise RetryableError(f"storing {key}: another process was there first") from cause
