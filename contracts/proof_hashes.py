"""The hashes of the custody proof: leaves, the chain over them, and Merkle trees (RFC 6962 2.1).

Invariant: what is hashed begins with a byte that says what it is (0 a leaf, 1 an inner node, 2 a
link of the chain), so no value of one kind can be shown as another. Pure; all hashes are the 32
bytes of a SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

_LEAF, _NODE, _LINK = b"\x00", b"\x01", b"\x02"
_GENESIS = b"hilum-proof/1 "

# A step of a path: whether the other hash stands on the left, and that hash.
PathStep = tuple[bool, bytes]


def genesis(site: str) -> bytes:
    """What the first link of a site's chain follows."""
    return hashlib.sha256(_GENESIS + site.encode()).digest()


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf's canonical bytes."""
    return hashlib.sha256(_LEAF + leaf).digest()


def next_link(link: bytes, leaf_sha256: bytes) -> bytes:
    """The chain after one more leaf."""
    return hashlib.sha256(_LINK + link + leaf_sha256).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node of the tree."""
    return hashlib.sha256(_NODE + left + right).digest()


class MerkleTree:
    """A tree that grows by leaves and keeps no more than one hash a level."""

    def __init__(self) -> None:
        self.leaves = 0
        self._whole: list[bytes] = []  # of the complete subtrees, the largest first

    def add(self, leaf_sha256: bytes) -> None:
        """One more leaf."""
        self._whole.append(leaf_sha256)
        self.leaves += 1
        # As many subtrees are completed as the count has zeros at its end.
        count = self.leaves
        while count % 2 == 0:
            right = self._whole.pop()
            self._whole[-1] = node_hash(self._whole[-1], right)
            count //= 2

    def root(self) -> bytes:
        """The root over all leaves so far; that of no leaves is the hash of nothing."""
        if not self._whole:
            return hashlib.sha256(b"").digest()
        root = self._whole[-1]
        for left in reversed(self._whole[:-1]):
            root = node_hash(left, root)
        return root


def merkle_path(leaves: Sequence[bytes], index: int) -> list[PathStep]:
    """What has to be hashed with leaf `index`, from the leaf upwards, to come to the root."""
    path: list[PathStep] = []
    level = list(leaves)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append((sibling < index, level[sibling]))
        pairs = [node_hash(*level[at : at + 2]) for at in range(0, len(level) - 1, 2)]
        # The last of an odd number goes up as it is, which is RFC 6962's split.
        level = pairs + level[len(level) - len(level) % 2 :]
        index //= 2
    return path


def root_of_path(leaf_sha256: bytes, path: Iterable[PathStep]) -> bytes:
    """The root that a leaf and its path come to."""
    found = leaf_sha256
    for is_left, other in path:
        found = node_hash(other, found) if is_left else node_hash(found, other)
    return found
