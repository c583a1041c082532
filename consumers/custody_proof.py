"""Proves what was received, archived and replicated: a signed hash chain for each site.

Invariant: an offset is committed only when its facts are leaves at both stores; a fact that comes
again while it is known is not written again. It must not change or drop a leaf, and adds none to
a chain that does not hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from consumers.index_input import fault_of, size_bytes
from consumers.proof_chain import ProofChain
from consumers.proof_objects import ProofObjects
from consumers.spec import BatchLimits, ConsumerSpec, Record, Rejection
from contracts.events import AssociationReceipt, PackArchived, PackReplicated
from contracts.failures import Reason
from contracts.proof_leaves import Leaf, leaves_of, site_of
from contracts.topics import PACK_ARCHIVED, PACK_REPLICATED, RECEIPT
from infra.connect import Engines
from infra.proof_key import signing_key

MIB = 1024 * 1024
# An object a site and batch: a minute's leaves in one, where nobody waits for them.
LIMITS = BatchLimits(records_max=5_000, bytes_max=32 * MIB, age_ms_max=60_000)
SITE_CHARACTERS_MAX = 100


class CustodyProof:
    """The writer of `custody-proof`."""

    def __init__(self, engines: Engines) -> None:
        self._settings = engines.settings.proofs
        self._key = signing_key(self._settings.key_file)
        self._clock = engines.clock
        self._objects = ProofObjects(engines.primary, engines.dr)
        self._chains: dict[str, ProofChain] = {}
        self._has_looked = False

    def write(self, batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        rejections = []
        leaves: dict[str, list[Leaf]] = defaultdict(list)
        for record in batch:
            site = site_of(record.event)
            fault = fault_of(record.event)
            if not 0 < len(site) <= SITE_CHARACTERS_MAX:
                fault = "site is empty or too long"
            if fault:
                rejections.append(Rejection(record, Reason.INVALID_FIELD, fault))
            else:
                leaves[site].extend(leaves_of(record.event))
        for site, mine in leaves.items():
            self._chain(site).append(mine)
        return rejections

    def tick(self) -> None:
        """Signs a root for each site where one is due, also of what an earlier process left."""
        if not self._has_looked:
            for site in self._objects.sites():
                self._chain(site)
            self._has_looked = True
        for chain in self._chains.values():
            chain.sign_if_due(self._settings.root_interval_s, self._settings.root_leaves_max)

    def close(self) -> None:
        """Nothing is held: what is not signed yet is signed after the next start."""

    def _chain(self, site: str) -> ProofChain:
        if site not in self._chains:
            self._chains[site] = ProofChain(site, self._objects, self._key, self._clock.now)
        return self._chains[site]


SPEC = ConsumerSpec(
    name="custody-proof",
    inputs={
        RECEIPT: AssociationReceipt,
        PACK_ARCHIVED: PackArchived,
        PACK_REPLICATED: PackReplicated,
    },
    limits=LIMITS,
    size_bytes=size_bytes,
    build=CustodyProof,
)
