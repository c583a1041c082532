"""The next deliveries to publish, as the ledger knows them: in order of acceptance, or by priority.

Invariant: the ledger is asked after changes only, and with priorities what arrives later and goes
first is seen within RANK_AGAIN_S. Must not judge a delivery.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from edge_gateway.priority_view import PriorityView
from edge_gateway.progress import Progress
from edge_gateway.progress_rows import LedgerEntry
from infra.clock import Clock

QUEUE_MAX = 256
# Without a change in the ledger the next deliveries are looked for so often.
ASK_AGAIN_S = 1.0
# With priorities the queue is made anew when something arrived, so often at most.
RANK_AGAIN_S = 0.25


class DeliveryQueue:
    """Without `by_priority` in order of acceptance. Used by one thread."""

    def __init__(
        self, progress: Progress, clock: Clock, by_priority: PriorityView | None = None
    ) -> None:
        self._progress = progress
        self._clock = clock
        self._by_priority = by_priority
        self._entries: deque[LedgerEntry] = deque()
        # The ledger's counts of changes when the queue was filled; None: ask it again.
        self._asked_at_change: int | None = None
        self._asked_at = 0.0
        self._queued_at_change = 0

    def front(self, in_hand: Callable[[], Collection[str]]) -> LedgerEntry | None:
        """The next delivery that is spooled and not in hand, as the ledger knows it now.

        `in_hand` is called only where the ledger is asked.
        """
        if self._queued_at_change != self._progress.other_changes or self._is_outranked():
            self.forget()
        if not self._entries and self._may_find_more():
            self._ask(in_hand())
        return self._entries[0] if self._entries else None

    def take(self) -> None:
        """The front is in hand from now on."""
        self._entries.popleft()

    def ask_again(self) -> None:
        """One in hand is spooled again, unknown to the ledger's counts."""
        self._asked_at_change = None

    def forget(self) -> None:
        """Asks the ledger before the next answer."""
        self._entries.clear()
        self._asked_at_change = None

    def _ask(self, in_hand: Collection[str]) -> None:
        progress, now = self._progress, self._clock.now()
        self._queued_at_change = progress.other_changes
        self._asked_at_change = progress.spooled_changes
        self._asked_at = self._clock.monotonic()
        source = self._by_priority or progress
        found = source.next_spooled(QUEUE_MAX, now, in_hand)
        self._entries.extend(found)
        if len(found) == QUEUE_MAX:
            self._asked_at_change = None

    def _may_find_more(self) -> bool:
        """What was set aside comes back by time alone."""
        is_changed = self._asked_at_change != self._progress.spooled_changes
        return is_changed or self._clock.monotonic() - self._asked_at >= ASK_AGAIN_S

    def _is_outranked(self) -> bool:
        """Whether something may have arrived that goes before what is queued."""
        if self._by_priority is None or not self._entries:
            return False
        is_due = self._clock.monotonic() - self._asked_at >= RANK_AGAIN_S
        return is_due and self._asked_at_change != self._progress.spooled_changes
