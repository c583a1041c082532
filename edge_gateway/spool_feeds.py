"""All spools of a gateway on their way into its one ledger.

Invariant: `has_caught_up` speaks of every directory that there was when the step began, one that
came a moment ago included, as what was answered out of it must not be overlooked. Must not decide
what becomes of a delivery.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_gateway.spool import SpoolPosition, SpoolSet
from edge_gateway.spool.spool_set import WorkerReader, worker_of
from edge_gateway.spool_feed import SpoolFeed
from infra.telemetry import logger

_LOG = logger("spool_feed")


class SpoolFeeds:
    """One `SpoolFeed` for each member of the set, as `make` makes it from the member's reader."""

    def __init__(self, spools: SpoolSet, make: Callable[[WorkerReader], SpoolFeed]) -> None:
        self._spools = spools
        self._make = make
        # By worker.
        self._feeds: dict[int, SpoolFeed] = {}
        self.has_caught_up = False

    def begin(self) -> None:
        """Goes to where the ledger ends."""
        for worker in self._spools.workers:
            self._add(worker)

    def step(self) -> bool:
        """Takes in the next records of each; whether there were any. Raises OSError of the disk."""
        for worker in self._spools.look():
            _LOG.info("another spool", worker=worker)
            self._add(worker)
        moved = [feed.step() for feed in self._feeds.values()]
        self.has_caught_up = all(feed.has_caught_up for feed in self._feeds.values())
        return any(moved)

    def is_read(self, segment: int) -> bool:
        """Whether all of a segment is in the ledger."""
        feed = self._feeds[worker_of(segment)]
        return segment < feed.position.segment_number

    def position(self, worker: int) -> SpoolPosition:
        """Everything before it is in the ledger."""
        return self._feeds[worker].position

    def forget(self, worker: int) -> None:
        """Its spool is gone: one that comes under its number is read from its start."""
        self._feeds.pop(worker).end()

    def _add(self, worker: int) -> None:
        reader = self._spools.follower(worker)
        feed = self._make(reader)
        feed.begin()
        self._feeds[worker] = feed
