"""Takes away the spool of a worker that is gone for good, once nothing in it is needed any more.

Invariant: only a spool whose every delivery is purged, whose every receipt is published and whose
every record was read, and only after the ledger that says so survives a power loss. Runs in the
main loop. Must not purge or publish.
"""

from __future__ import annotations

from edge_gateway.progress import Progress
from edge_gateway.spool import SpoolError, SpoolSet
from edge_gateway.spool.spool_set import first_number
from edge_gateway.spool_feeds import SpoolFeeds
from infra.clock import Clock
from infra.telemetry import logger

STEP_INTERVAL_S = 2.0
_LOG = logger("drained")
_NEEDED = (
    "SELECT 1 FROM delivery WHERE segment >= :first AND segment < :before"
    " AND state NOT IN ('purged', 'lost')",
    "SELECT 1 FROM receipt WHERE segment >= :first AND segment < :before",
    "SELECT 1 FROM association WHERE opened_segment >= :first AND opened_segment < :before",
    "SELECT 1 FROM association WHERE closed_segment >= :first AND closed_segment < :before",
)


class DrainedSpools:
    """Looks every STEP_INTERVAL_S, where the count was lowered."""

    def __init__(
        self, progress: Progress, spools: SpoolSet, feeds: SpoolFeeds, clock: Clock
    ) -> None:
        self._progress = progress
        self._spools = spools
        self._feeds = feeds
        self._clock = clock
        self._stepped_at = 0.0

    def step(self) -> None:
        """Takes one away at most; a refusal of the disk is told and tried again."""
        now = self._clock.monotonic()
        if now - self._stepped_at < STEP_INTERVAL_S or not self._feeds.has_caught_up:
            return
        self._stepped_at = now
        for worker in self._spools.left_workers():
            if self._is_drained(worker):
                self._retire(worker)
                return

    def _is_drained(self, worker: int) -> bool:
        span = {"first": first_number(worker), "before": first_number(worker + 1)}
        run = self._progress.connection.execute
        return not any(run(f"{query} LIMIT 1", span).fetchone() for query in _NEEDED)

    def _retire(self, worker: int) -> None:
        self._progress.commit_durably()
        try:
            if not self._spools.retire(worker, self._feeds.position(worker)):
                return
        except SpoolError as problem:
            _LOG.error("a drained spool stays", worker=worker, reason=str(problem))
            return
        self._feeds.forget(worker)
        _LOG.info("a drained spool is gone", worker=worker)
