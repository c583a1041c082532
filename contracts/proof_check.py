"""Whether the proofs of one site at one store hold: chain, trees, signatures, one after another.

Invariant: nothing that is read is believed: every link and every root is computed from the leaves
again, and the first position from which on it does not hold is named. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.proof_hashes import MerkleTree, genesis, leaf_hash, next_link
from contracts.proof_records import (
    ProofFormatError,
    Root,
    Segment,
    decode_root,
    decode_segment,
)
from contracts.proof_signing import VerifyingKey


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """What does not hold at `position`.

    Where all links were computed anew, a store alone does not tell which leaf was touched: it is
    one of [since, until), and the other store's leaves tell which.
    """

    position: int
    since: int
    until: int
    what: str


@dataclass(slots=True)
class Checked:
    """What one store says of one site. `answered` counts receipt leaves before the fault."""

    site: str
    leaves: int = 0
    answered: int = 0
    signed: int = 0
    roots: int = 0
    chain: str = ""
    fault: Fault | None = None


class SiteCheck:
    """Takes a site's roots, then its segments in order of their keys."""

    def __init__(self, site: str, keys: Sequence[VerifyingKey], stored: Iterable[bytes]) -> None:
        self._site = site
        self._link = genesis(site)
        self._tree = MerkleTree()
        self._position = 0
        self._answered = 0
        self._is_broken = False
        self._faults: list[Fault] = []
        self._roots = self._chained_roots(keys, stored)
        self._closed = 0  # roots whose trees were computed

    def add(self, first: int, data: bytes) -> None:
        """The object under the key of the segment that begins at `first`."""
        if self._is_broken:
            return
        at = self._position
        if first != at:
            self._break_since_root(f"leaves {at} to {first - 1} are missing", max(at + 1, first))
            return
        try:
            segment = decode_segment(data)
        except ProofFormatError as cause:
            self._break(at, str(cause))
            return
        self._follow(segment)

    def end(self) -> Checked:
        """What was found, once every segment was given."""
        if not self._is_broken and self._closed < len(self._roots):
            end = self._roots[-1].body.end
            self._break_since_root(f"leaves end here, {end} are signed", end)
        return Checked(
            self._site,
            self._position,
            self._answered,
            self._signed(),
            self._closed,
            self._link.hex(),
            min(self._faults, default=None),
        )

    def _chained_roots(self, keys: Sequence[VerifyingKey], stored: Iterable[bytes]) -> list[Root]:
        roots: list[Root] = []
        first, previous = 0, ""
        for number, data in enumerate(stored):
            try:
                root = decode_root(data)
            except ProofFormatError as cause:
                what = str(cause)
            else:
                what = _fault_of_root(root, self._site, (number, first, previous), keys)
            if what:
                self._faults.append(Fault(first, first, first + 1, f"root {number}: {what}"))
                break
            roots.append(root)
            first, previous = root.body.end, root.sha256
        return roots

    def _follow(self, segment: Segment) -> None:
        head = segment.head
        named = (head.site, head.first, head.previous)
        if named != (self._site, self._position, self._link.hex()):
            what = "the segment does not follow what is before it"
            self._break_since_root(what, self._position + 1)
            return
        for leaf, link in zip(segment.leaves, segment.links, strict=True):
            digest = leaf_hash(leaf)
            if next_link(self._link, digest) != link:
                self._break(self._position, "the leaf is not the one that was chained")
                return
            self._link = link
            self._tree.add(digest)
            self._position += 1
            self._answered += b'"kind":"answered"' in leaf
            if not self._close_root():
                return
        if head.count != len(segment.leaves):
            self._break(self._position, f"{head.count} leaves were written in this segment")

    def _close_root(self) -> bool:
        """Compares a root that ends here; False where it is another one."""
        if self._closed == len(self._roots) or self._roots[self._closed].body.end != self._position:
            return True
        body = self._roots[self._closed].body
        if (body.merkle_root, body.chain) != (self._tree.root().hex(), self._link.hex()):
            what = f"leaves {body.first} to {body.end - 1} are not those of root {body.number}"
            self._faults.append(Fault(body.first, body.first, body.end, what))
            self._is_broken = True
            return False
        self._closed += 1
        self._tree = MerkleTree()
        return True

    def _break(self, position: int, what: str) -> None:
        self._faults.append(Fault(position, position, position + 1, what))
        self._is_broken = True

    def _break_since_root(self, what: str, until: int) -> None:
        """Of leaves that no root has closed: links of theirs may have been computed anew."""
        self._faults.append(Fault(self._position, self._signed(), until, what))
        self._is_broken = True

    def _signed(self) -> int:
        return self._roots[self._closed - 1].body.end if self._closed else 0


def first_difference(ours: bytes, theirs: bytes, first: int) -> int:
    """The position of the first leaf in which two objects of one segment differ."""
    try:
        pair = decode_segment(ours).leaves, decode_segment(theirs).leaves
    except ProofFormatError:
        return first
    same = 0
    for mine, other in zip(*pair, strict=False):
        if mine != other:
            break
        same += 1
    return first + same


@dataclass(slots=True)
class SiteVerdict:
    """Both stores on one site. `position` is the first bad one, None where all holds."""

    site: str
    stores: dict[str, Checked] = field(default_factory=dict)
    position: int | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.faults


def judge(
    site: str, stores: Mapping[str, Checked], difference: tuple[int, str] | None
) -> SiteVerdict:
    """The verdict on a site. `difference` is where the stores' objects first differ, and how."""
    verdict = SiteVerdict(site, dict(stores))
    positions = []
    for name, checked in stores.items():
        fault = checked.fault
        if fault is None:
            continue
        position = fault.position
        if difference is not None and fault.since <= difference[0] < fault.until:
            # Which leaf of a signed tree was edited is what the other store knows.
            position = difference[0]
        positions.append(position)
        verdict.faults.append(f"{name}, position {position}: {fault.what}")
    if difference is not None and not positions:
        positions.append(difference[0])
        verdict.faults.append(f"position {difference[0]}: {difference[1]}")
    verdict.position = min(positions, default=None)
    return verdict


def _fault_of_root(
    root: Root, site: str, expected: tuple[int, int, str], keys: Sequence[VerifyingKey]
) -> str:
    """What is wrong with a root that should have this number, first position and previous one."""
    body = root.body
    if body.site != site or (body.number, body.first, body.previous_root) != expected:
        return "does not follow the root before it"
    if not root.is_signed_by(keys):
        return f"not signed by a known key (it names {body.key_id[:16]})"
    return "" if body.count else "over no leaves"
