"""The null receiver in the same shape as the others: it drops everything and answers 0000.

Invariant: it is what a sender's ceiling is measured at, never a peer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from load.senders.model import Target
from load.senders.null_receiver import NullReceiver, running_null_receiver


class RunningNull:
    """See RunningReceiver."""

    def __init__(self, receiver: NullReceiver) -> None:
        self._receiver = receiver
        self._process = psutil.Process(receiver.process_id)

    @property
    def target(self) -> Target:
        """Where it listens, and as whom."""
        return self._receiver.target

    def process_ids(self) -> tuple[int, ...]:
        """Its one process; () when it has died."""
        return (self._process.pid,) if self._process.is_running() else ()

    def cpu_s(self) -> float:
        """CPU seconds since its start."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def clear(self) -> None:
        """Nothing: it keeps nothing."""

    def flushes(self) -> int | None:
        """None: it has no disk."""
        return None


@contextmanager
def run_null(directory: Path) -> Iterator[RunningNull]:
    """Runs one; nothing is written to `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    with running_null_receiver() as receiver:
        yield RunningNull(receiver)
