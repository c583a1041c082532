"""A first spool with its receiver, and a mirror that follows it, step by step.

Invariant: what is stored here is told by the spool's own workload, so its bytes can be verified
wherever they are found.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge_gateway.mirror.follower import Follower
from edge_gateway.mirror.mirror_spool import MirrorLimits, MirrorSpool
from edge_gateway.spool import FileSystem, Spool, SpooledDelivery
from tests.edge_gateway.spool.workload import SMALL_SEGMENTS, opened, receipt, store

LIMITS = MirrorLimits(SMALL_SEGMENTS.segment_bytes, 1 << 30, 0)
# In a segment, and in a file of its own.
INLINE_BYTES, EXTERNAL_BYTES = 3_000, 20_000


@dataclass
class Mirrored:
    """One gateway's two directories."""

    spool: Spool
    first: Path
    second: Path
    association: str = "association-1"
    stored: list[SpooledDelivery] = field(default_factory=list)

    def store(self, *sizes_bytes: int) -> list[SpooledDelivery]:
        """Durable in the first spool, not answered yet."""
        new = [store(self.spool, size_bytes, self.association) for size_bytes in sizes_bytes]
        self.stored += new
        return new

    def answer(self, *deliveries: SpooledDelivery) -> None:
        for delivery in deliveries:
            self.spool.append_receipt(receipt(delivery))

    @contextmanager
    def following(self, fs: FileSystem | None = None) -> Iterator[Follower]:
        """A mirror process's share of it, from its start to its end."""
        with MirrorSpool(self.second, self.spool.identity, LIMITS, fs=fs) as mirror:
            follower = Follower(self.first, mirror)
            follower.bring_remnants()
            try:
                yield follower
            finally:
                follower.close()


@contextmanager
def mirrored(directory: Path) -> Iterator[Mirrored]:
    """A receiver over `first`; nobody follows it yet."""
    first, second = directory / "first", directory / "second"
    with Spool.open(first, "north", SMALL_SEGMENTS) as spool:
        spool.association_opened(opened())
        yield Mirrored(spool, first, second)


def catch_up(follower: Follower) -> None:
    """Until there is nothing more to copy."""
    while follower.step():
        pass


def held(follower: Follower, deliveries: list[SpooledDelivery]) -> list[bool]:
    return [follower.holds(each.delivery_id, each.content_sha256) for each in deliveries]
