"""The custody proof of one site as this process continues it: leaves into segments, then roots.

Invariant: a segment or a root is made only under a key that was free, at both stores; whoever
finds the key taken forgets what it knew and reads again what is there. It must not trust its
memory after a failure: what a store took before the answer was lost counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from consumers.proof_objects import ProofObjects
from contracts.failures import FatalError
from contracts.proof_hashes import MerkleTree, genesis, leaf_hash, next_link
from contracts.proof_leaves import Leaf, identity_of
from contracts.proof_records import (
    FORMAT,
    SEGMENT_LEAVES_MAX,
    ProofFormatError,
    Root,
    RootBody,
    Segment,
    SegmentHead,
    decode_root,
    decode_segment,
    encode_segment,
    root_key,
    segment_key,
    sign_root,
)
from contracts.proof_signing import SigningKey

# The facts of so many leaves are known, so that what comes twice is not written twice. More than
# any batch that a dead member, or another one, may have written before it comes again here.
KNOWN_LEAVES_MAX = 65_536
# At a quiet site a segment holds few: then those of so many are known, and a start stays short.
KNOWN_SEGMENTS_MAX = 256


@dataclass
class _State:
    """Where the chain stands."""

    position: int
    link: bytes
    tree: MerkleTree
    known: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    last_root: Root | None = None

    @property
    def signed(self) -> int:
        return self.last_root.body.end if self.last_root else 0

    def follow(self, data: bytes, identity: bytes, is_signed: bool) -> None:
        digest = leaf_hash(data)
        self.link = next_link(self.link, digest)
        if not is_signed:
            self.tree.add(digest)
        self.position += 1
        self.known[identity] = None
        if len(self.known) > KNOWN_LEAVES_MAX:
            self.known.popitem(last=False)


class ProofChain:
    """One site's chain. One thread; several processes may share a chain, they take turns."""

    def __init__(
        self, site: str, objects: ProofObjects, key: SigningKey, now: Callable[[], datetime]
    ) -> None:
        self._site = site
        self._objects = objects
        self._key = key
        self._now = now
        self._state: _State | None = None

    def append(self, leaves: Sequence[Leaf]) -> int:
        """On return every leaf is on the chain, at both stores; how many were not there before.

        Raises RetryableError (also where another process was faster), FatalError.
        """
        state = self._loaded()
        fresh: dict[bytes, bytes] = {}
        for leaf in leaves:
            if leaf.identity not in state.known:
                fresh.setdefault(leaf.identity, leaf.data)
        rest = list(fresh.items())
        for at in range(0, len(rest), SEGMENT_LEAVES_MAX):
            self._write_segment(state, rest[at : at + SEGMENT_LEAVES_MAX])
        return len(fresh)

    def sign_if_due(self, interval_s: float, leaves_max: int) -> bool:
        """Signs what came since the last root, once that is old enough or enough; whether it did.

        Raises as `append` does.
        """
        state = self._loaded()
        unsigned = state.position - state.signed
        if not unsigned or (unsigned < leaves_max and self._root_age_s(state) < interval_s):
            return False
        previous = state.last_root
        body = RootBody(
            format=FORMAT,
            site=self._site,
            number=previous.body.number + 1 if previous else 0,
            first=state.signed,
            count=unsigned,
            merkle_root=state.tree.root().hex(),
            chain=state.link.hex(),
            previous_root=previous.sha256 if previous else "",
            signed_at=_text(self._now()),
            key_id=self._key.public.key_id,
        )
        stored = sign_root(body, self._key)
        self._store(root_key(self._site, body.number), stored)
        state.last_root, state.tree = decode_root(stored), MerkleTree()
        return True

    def _root_age_s(self, state: _State) -> float:
        # The first root of a chain comes at once: it says from when on there are any.
        if state.last_root is None:
            return float("inf")
        # By UTC, as it outlives the process; a clock that is set back makes a root early.
        signed_at = datetime.fromisoformat(state.last_root.body.signed_at)
        return abs((self._now() - signed_at).total_seconds())

    def _write_segment(self, state: _State, leaves: Sequence[tuple[bytes, bytes]]) -> None:
        head = SegmentHead(
            FORMAT, self._site, state.position, len(leaves), state.link.hex(), _text(self._now())
        )
        data = encode_segment(head, [leaf for _, leaf in leaves])
        self._store(segment_key(self._site, state.position), data)
        for identity, leaf in leaves:
            state.follow(leaf, identity, is_signed=False)

    def _store(self, key: str, data: bytes) -> None:
        # Forgotten until it is known to be stored: after a failure it is read again.
        state, self._state = self._state, None
        self._objects.put(key, data)
        self._state = state

    def _loaded(self) -> _State:
        if self._state is None:
            self._state = self._load()
        return self._state

    def _load(self) -> _State:
        """The chain's end, read from the primary store, once the second one has all of it."""
        self._objects.complete_second(self._site)
        firsts, roots = self._objects.places(self._site)
        try:
            last_root = decode_root(self._read_root(roots[-1])) if roots else None
            segments = self._tail(firsts, last_root.body.end if last_root else 0)
        except ProofFormatError as cause:
            raise self._broken(str(cause)) from cause
        first = segments[0].head if segments else None
        link = bytes.fromhex(first.previous) if first else genesis(self._site)
        state = _State(first.first if first else 0, link, MerkleTree(), last_root=last_root)
        for segment in segments:
            self._follow(state, segment)
        if state.position < state.signed:
            raise self._broken(f"leaves end at {state.position}, {state.signed} are signed")
        return state

    def _tail(self, firsts: Sequence[int], signed: int) -> list[Segment]:
        """The last segments: all that is not signed, and as much as must be known."""
        segments: list[Segment] = []
        leaves = 0
        for first in reversed(firsts):
            segments.append(decode_segment(self._objects.read(segment_key(self._site, first))))
            leaves += len(segments[-1].leaves)
            is_enough = leaves >= KNOWN_LEAVES_MAX or len(segments) >= KNOWN_SEGMENTS_MAX
            if is_enough and first <= signed:
                break
        return segments[::-1]

    def _follow(self, state: _State, segment: Segment) -> None:
        head = segment.head
        if (head.first, head.previous) != (state.position, state.link.hex()):
            raise self._broken(f"no segment follows position {state.position}")
        for leaf, link in zip(segment.leaves, segment.links, strict=True):
            try:
                identity = identity_of(leaf)
            except ValueError as cause:
                raise self._broken(f"position {state.position} is no leaf") from cause
            state.follow(leaf, identity, is_signed=state.position < state.signed)
            if state.link != link:
                raise self._broken(f"position {state.position - 1} is not what was chained")

    def _read_root(self, number: int) -> bytes:
        return self._objects.read(root_key(self._site, number))

    def _broken(self, what: str) -> FatalError:
        return FatalError(
            f"continuing the proofs of {self._site}: {what}",
            "run `hilum verify --proofs`; nothing is added to a chain that does not hold",
        )


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
