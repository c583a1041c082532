"""What became of each instance of a job, in arrays made before the clock starts.

Invariant: an instance is resolved once. Must not know associations.
"""

from __future__ import annotations

import time
from array import array

from load.lean_worker.job import RECORD


class Ledger:
    """One row for each instance, by its number in the job. Times are of CLOCK_MONOTONIC, ns."""

    def __init__(self, count: int) -> None:
        self.unresolved = count
        self.problems: list[str] = [""]
        self.sent_ns = array("q", bytes(8 * count))
        self._ended_ns = array("q", bytes(8 * count))
        self._status = array("i", [-1]) * count
        self._problem = array("H", bytes(2 * count))
        self._was_sent = bytearray(count)

    def sent(self, number: int, now_ns: int) -> None:
        """Its first byte goes to the kernel now."""
        self._was_sent[number] = 1
        self.sent_ns[number] = now_ns

    def answered(self, number: int, now_ns: int, status: int) -> None:
        """Its response has come."""
        self._ended_ns[number] = now_ns
        self._status[number] = status
        self.unresolved -= 1

    def resolve(self, number: int, problem: str) -> None:
        """There will be no response, and why."""
        now_ns = time.perf_counter_ns()
        if not self._was_sent[number]:
            self.sent_ns[number] = now_ns
        self._ended_ns[number] = now_ns
        if problem not in self.problems:
            self.problems.append(problem)
        self._problem[number] = self.problems.index(problem)
        self.unresolved -= 1

    def records(self) -> bytes:
        """A RECORD of each instance, in the job's order."""
        columns = zip(
            self.sent_ns,
            self._ended_ns,
            self._status,
            self._problem,
            self._was_sent,
            strict=True,
        )
        return b"".join(RECORD.pack(*row) for row in columns)
