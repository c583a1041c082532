"""How many refusals are bad data, and from when on they are a bad deploy.

Invariant: counted before anything is dead-lettered or committed, so that a consumer which
understands nothing any more stops with its position untouched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from contracts.failures import FatalError

WINDOW_RECORDS = 10_000
REFUSED_IN_WINDOW_MAX = 500
REFUSED_IN_A_ROW_MAX = 100


class RejectionBudget:
    """Outcomes of the last WINDOW_RECORDS records, in the order they were handed out."""

    def __init__(self) -> None:
        self._window: deque[bool] = deque(maxlen=WINDOW_RECORDS)
        self._refused = 0
        self._in_a_row = 0

    def note(self, is_refused: Iterable[bool]) -> None:
        """Counts a batch. Raises FatalError once either limit is exceeded."""
        for refused in is_refused:
            if len(self._window) == WINDOW_RECORDS:
                self._refused -= self._window[0]
            self._window.append(refused)
            self._refused += refused
            self._in_a_row = self._in_a_row + 1 if refused else 0
            if self._in_a_row >= REFUSED_IN_A_ROW_MAX or self._refused > REFUSED_IN_WINDOW_MAX:
                raise FatalError(
                    f"refusing {self._refused} of the last {len(self._window)} records, the last "
                    f"{self._in_a_row} in a row: that is a bad deploy, not bad data",
                    "see the reasons in `hilum dlq list` and in this log; then deploy a version "
                    "that understands these records and start the consumer again",
                )
