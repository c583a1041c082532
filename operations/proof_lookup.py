"""`hilum where --proof`: what proves that an image is the one that was received.

Invariant: the answer can be checked with SHA-256, Ed25519 and nothing else; it holds the leaves
themselves, their way to a root and the root as it was signed. What has no proof is named.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

from contracts.failures import FatalError
from contracts.proof_hashes import leaf_hash, merkle_path, root_of_path
from contracts.proof_leaves import LeafKind
from contracts.proof_records import ProofFormatError, Root, Segment, decode_root, decode_segment
from contracts.proof_signing import VerifyingKey
from infra.connect import Engines
from operations.proof_store import SiteProofs, list_proofs
from operations.where import find_deliveries

FORMAT = "hilum-proof/1"
DELIVERIES_MAX = 200
# A leaf is written after what it tells; the gateway's clock may be this much ahead.
CLOCK_AHEAD = timedelta(hours=1)
_SEGMENTS_KEPT = 128


@dataclass(frozen=True, slots=True)
class LeafProof:
    """One leaf and its way to a signed root; `root` and `signature` are None until it is signed.

    `path` has the other hash of each step, and whether it stands on the `left` or `right`.
    `holds`: path and signature were checked, with the key of the settings.
    """

    delivery_id: str
    kind: str
    site: str
    position: int
    leaf: str
    path: tuple[tuple[str, str], ...]
    root: str | None
    signature: str | None
    holds: bool


@dataclass(frozen=True, slots=True)
class ProofDocument:
    """The keys of `hilum where KEY --proof`. `missing` names leaves that there should be."""

    format: str
    key: str
    ok: bool
    public_key: str
    key_id: str
    proofs: tuple[LeafProof, ...]
    missing: tuple[str, ...]


def prove(engines: Engines, key: str, signer: VerifyingKey) -> ProofDocument:
    """The proofs of every delivery that a key names, as `hilum where` finds them.

    Raises RetryableError (a source cannot be asked), FatalError (too many deliveries).
    """
    _, rows = find_deliveries(engines.primary.database, key)
    if len(rows) > DELIVERIES_MAX:
        raise FatalError(
            f"{key} names {len(rows)} deliveries", "name a SOP Instance UID, or a delivery"
        )
    sites = list_proofs(engines.primary.object_store)
    chains = {site: _Chain(proofs) for site, proofs in sites.items()}
    proofs: list[LeafProof] = []
    missing: list[str] = []
    for row in rows:
        for kind, site, at in _expected(engines, row):
            found = chains[site].prove(kind, row, at, signer) if site in chains else None
            if found is None:
                missing.append(f"{kind} {row['delivery_id']} at {site}")
            else:
                proofs.append(found)
    ok = bool(proofs) and not missing and all(proof.holds for proof in proofs)
    return ProofDocument(
        FORMAT, key, ok, signer.raw.hex(), signer.key_id, tuple(proofs), tuple(missing)
    )


def _expected(engines: Engines, row: dict[str, Any]) -> Iterator[tuple[str, str, datetime]]:
    """Which leaves a delivery has by what the index knows: kind, site, not before when."""
    yield LeafKind.ANSWERED.value, str(row["site"]), row["spooled_at"]
    if row["archived_at"] is not None:
        yield LeafKind.ARCHIVED.value, engines.primary.name, row["archived_at"]
    if row["replicated_at"] is not None:
        yield LeafKind.REPLICATED.value, engines.dr.name, row["replicated_at"]


class _Chain:
    """One site's leaves and roots, read where they are needed."""

    def __init__(self, proofs: SiteProofs) -> None:
        self._proofs = proofs
        self._segment = lru_cache(maxsize=_SEGMENTS_KEPT)(self._read_segment)
        self._root = lru_cache(maxsize=_SEGMENTS_KEPT)(self._read_root)

    def prove(
        self, kind: str, row: dict[str, Any], at: datetime, signer: VerifyingKey
    ) -> LeafProof | None:
        """The proof of a delivery's leaf of this kind; None where no leaf tells of it."""
        delivery_id = str(row["delivery_id"])
        found = self._find(kind, delivery_id, at)
        if found is None:
            return None
        position, leaf = found
        root = self._root_over(position)
        path = self._path(root, position) if root else []
        holds = (
            root is not None
            and root.is_signed_by([signer])
            and root_of_path(leaf_hash(leaf), path).hex() == root.body.merkle_root
            and orjson.loads(leaf)["content_sha256"] == row["content_sha256"]
        )
        return LeafProof(
            delivery_id=delivery_id,
            kind=kind,
            site=self._proofs.site,
            position=position,
            leaf=leaf.decode(),
            path=tuple(("left" if is_left else "right", other.hex()) for is_left, other in path),
            root=root.data.decode() if root else None,
            signature=root.signature.hex() if root else None,
            holds=holds,
        )

    def _find(self, kind: str, delivery_id: str, at: datetime) -> tuple[int, bytes] | None:
        firsts = self._proofs.firsts
        earliest = (at.astimezone(UTC) - CLOCK_AHEAD).isoformat(timespec="microseconds")
        begin = bisect_left(firsts, earliest, key=lambda n: self._segment(n).head.written_at)
        wanted = orjson.dumps(delivery_id)
        for first in firsts[begin:]:
            for index, leaf in enumerate(self._segment(first).leaves):
                if wanted in leaf and _names(leaf, kind, delivery_id):
                    return first + index, leaf
        return None

    def _root_over(self, position: int) -> Root | None:
        numbers = self._proofs.roots
        at = bisect_left(numbers, position + 1, key=lambda n: self._root(n).body.end)
        return self._root(numbers[at]) if at < len(numbers) else None

    def _path(self, root: Root, position: int) -> list[tuple[bool, bytes]]:
        first, end = root.body.first, root.body.end
        hashes = [
            leaf_hash(leaf)
            for at in self._proofs.firsts
            if first <= at < end
            for leaf in self._segment(at).leaves
        ]
        return merkle_path(hashes, position - first) if position - first < len(hashes) else []

    def _read_segment(self, first: int) -> Segment:
        try:
            return decode_segment(self._proofs.segment(first) or b"")
        except ProofFormatError as cause:
            raise self._damaged(f"the segment at {first}") from cause

    def _read_root(self, number: int) -> Root:
        try:
            return decode_root(self._proofs.root(number) or b"")
        except ProofFormatError as cause:
            raise self._damaged(f"root {number}") from cause

    def _damaged(self, what: str) -> FatalError:
        return FatalError(
            f"reading the proofs of {self._proofs.site}: {what} is damaged",
            "run `hilum verify --proofs`",
        )


def _names(leaf: bytes, kind: str, delivery_id: str) -> bool:
    fields = orjson.loads(leaf)
    return bool(fields["kind"] == kind and fields["delivery_id"] == delivery_id)
