"""One record on its way to the disk, and who is told of its end: a thread that waits, or a call.

Invariant: `give_back` runs once, and the waiter is woken once: for the end, or for its turn to
write. Must not write.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge_gateway.spool.errors import SpoolError
from edge_gateway.spool.filesystem import Bytes
from edge_gateway.spool.record import record_bytes
from edge_gateway.spool.sealing import DeliverySeal, Sealed


def _nothing() -> None:
    return None


def _taken_lock() -> threading.Lock:
    # Half the price of an Event, which makes a second lock for each wait.
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class Pending:
    """A record in the committer's queue. `give_back` is called when its body is not needed.

    `said` is its entry, or what will be that when the data set is hashed.

    `when_stalled` is called, by another thread, when its own thread is still writing at the
    deadline for its answer. `when_finished` makes it a record that no thread sleeps for: it is
    called once, by whoever wrote, and has to be quick. The flags change under the committer's
    lock, `error` before `is_finished`.
    """

    said: Sealed | DeliverySeal
    body: Sequence[Bytes] = ()
    is_waited_for: bool = False
    give_back: Callable[[], None] = _nothing
    when_stalled: Callable[[], None] = _nothing
    when_finished: Callable[[], None] | None = None
    queued_at_s: float = field(default_factory=time.monotonic)
    error: SpoolError | None = None
    is_finished: bool = False
    # Its waiter has, or had, the turn to write.
    leads: bool = False
    # Told as not flushed in time, whatever becomes of it.
    is_given_up: bool = False
    meta_bytes: int = field(init=False)
    body_bytes: int = field(init=False)
    size_bytes: int = field(init=False)
    _woken: threading.Lock = field(init=False, default_factory=_taken_lock)

    def __post_init__(self) -> None:
        self.meta_bytes = self.said.meta_bytes
        self.body_bytes = sum(len(part) for part in self.body)
        self.size_bytes = record_bytes(self.meta_bytes, self.body_bytes)

    @property
    def is_waiting(self) -> bool:
        """Whether a thread is there that could be given the turn."""
        return self.is_waited_for and not self.is_given_up and self.when_finished is None

    def wait(self, deadline_s: float) -> bool:
        """Whether it was woken by then: finished, or to lead."""
        return self._woken.acquire(timeout=max(0.0, deadline_s - time.monotonic()))

    def wake(self) -> None:
        """Wakes the waiter."""
        self._woken.release()

    def finish(self, error: SpoolError | None) -> None:
        """The record is flushed, or `error` says why not; its waiter is told."""
        self.error = error
        self.is_finished = True
        # Whoever asks for the end later may hold on to this: not to the bytes.
        self.body = ()
        self.give_back()
        if self.when_finished is not None:
            self.when_finished()
        # A leader is not asleep.
        elif self.is_waited_for and not self.leads:
            self.wake()

    def require_written(self) -> None:
        """Raises what the finished record failed with."""
        if self.error is not None:
            # A new instance each: one exception raised in many threads would mix tracebacks.
            raise type(self.error)(str(self.error)) from self.error
