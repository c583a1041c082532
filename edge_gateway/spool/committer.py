"""Group commit: one thread writes every waiting record and one flush acknowledges them all.

Invariant: a record's waiter returns without an error only after the flush that covers the record
returned. After a failed flush nothing is acknowledged any more (health.py). A sequence number is
used once, also by a write that failed, so what it left behind the tail is foreign for ever.
Must not know what a record means, except for the ledger that goes into checkpoints.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge_gateway.spool.entry import Entry
from edge_gateway.spool.errors import SpoolBroken, SpoolError, SpoolFull, SpoolStalled
from edge_gateway.spool.filesystem import Bytes
from edge_gateway.spool.health import SpoolHealth
from edge_gateway.spool.limits import (
    BATCH_BYTES_MAX,
    BATCH_RECORDS_MAX,
    RETRY_DELAY_S,
    SpoolLimits,
)
from edge_gateway.spool.log import SpoolLog
from edge_gateway.spool.record import record_bytes


def _nothing() -> None:
    return None


@dataclass(slots=True, eq=False)
class Pending:
    """One record on its way to the disk. `give_back` runs once, when its body is not needed."""

    entry: Entry
    meta: bytes
    body: Sequence[Bytes] = ()
    is_waited_for: bool = False
    give_back: Callable[[], None] = _nothing
    queued_at_s: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    error: SpoolError | None = None

    @property
    def size_bytes(self) -> int:
        return record_bytes(len(self.meta), sum(len(part) for part in self.body))

    def finish(self, error: SpoolError | None) -> None:
        self.error = error
        self.give_back()
        self.done.set()


class Committer:
    """The queue of records and the thread that empties it."""

    def __init__(self, log: SpoolLog, limits: SpoolLimits, health: SpoolHealth) -> None:
        self._log = log
        self._limits = limits
        self._health = health
        self._changed = threading.Condition()
        self._queue: deque[Pending] = deque()
        self._waited_for = 0
        self._retry_after_s = 0.0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="spool-committer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def append(self, pending: Pending) -> None:
        """Queues a record; flushed with the next commit, at the latest after `receipt_delay_ms`.

        Waits while the queue is full. Raises SpoolBroken, and SpoolFull when it stays full.
        """
        deadline = time.monotonic() + self._limits.commit_wait_ms / 1000
        with self._changed:
            while len(self._queue) >= self._limits.records_queued_max:
                self._require_open()
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise SpoolFull("queueing a record: the queue of the spool stays full")
                self._changed.wait(left_s)
            self._require_open()
            self._queue.append(pending)
            self._waited_for += pending.is_waited_for
            # The thread sleeps without a deadline only on an empty queue.
            if pending.is_waited_for or len(self._queue) == 1:
                self._changed.notify_all()

    def commit(self, pending: Pending) -> None:
        """Returns when the record is flushed. Raises SpoolFull, SpoolBroken or SpoolStalled."""
        try:
            self.append(pending)
        except SpoolError as error:
            pending.finish(error)
            raise
        if not pending.done.wait(self._limits.commit_wait_ms / 1000):
            raise SpoolStalled(
                f"waiting for a flush: not back after {self._limits.commit_wait_ms} ms"
            )
        if pending.error is not None:
            # A new instance each: one exception raised in many threads would mix tracebacks.
            raise type(pending.error)(str(pending.error)) from pending.error

    def close(self) -> None:
        """Writes what is queued, then stops; a record that finds no room is given up."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _require_open(self) -> None:
        self._health.require()
        if self._closing:
            raise SpoolBroken("the spool is closed")

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._write(batch)
        finally:
            # Reached without `close` only by a fault of ours: then nobody may wait for ever.
            if not self._closing:
                self._health.declare_broken("the committer stopped")
            self._fail_queue()

    def _next_batch(self) -> list[Pending]:
        with self._changed:
            while not self._closing and self._health.broken is None:
                delay_s = self._delay_s()
                if delay_s is not None and delay_s <= 0:
                    break
                self._changed.wait(delay_s)
            if self._health.broken is not None:
                return []
            batch: list[Pending] = []
            size_bytes = 0
            while self._queue and len(batch) < BATCH_RECORDS_MAX and size_bytes < BATCH_BYTES_MAX:
                batch.append(self._queue.popleft())
                size_bytes += batch[-1].size_bytes
                self._waited_for -= batch[-1].is_waited_for
            self._changed.notify_all()
            return batch

    def _delay_s(self) -> float | None:
        if self._waited_for:
            return 0.0
        if not self._queue:
            return None
        due_s = self._queue[0].queued_at_s + self._limits.receipt_delay_ms / 1000
        return max(due_s, self._retry_after_s) - time.monotonic()

    def _write(self, batch: list[Pending]) -> None:
        rest = deque(batch)
        while rest:
            group = self._fitting(rest)
            try:
                if group:
                    self._write_group(group)
                else:
                    self._log.roll_over()
            except SpoolFull as error:
                self._refuse([*group, *rest], error)
                return
            except SpoolBroken as error:
                self._health.declare_broken(str(error))
                for pending in (*group, *rest):
                    pending.finish(error)
                return

    def _fitting(self, rest: deque[Pending]) -> list[Pending]:
        group: list[Pending] = []
        room_bytes = self._log.room_bytes
        while rest and rest[0].size_bytes <= room_bytes:
            group.append(rest.popleft())
            room_bytes -= group[-1].size_bytes
        return group

    def _write_group(self, group: list[Pending]) -> None:
        self._log.write([(p.entry, p.meta, p.body) for p in group])
        for pending in group:
            pending.finish(None)

    def _refuse(self, batch: list[Pending], error: SpoolFull) -> None:
        """Deliveries go back to their senders; receipts are facts already and wait for room."""
        for pending in batch:
            if pending.is_waited_for:
                pending.finish(error)
        kept = [pending for pending in batch if not pending.is_waited_for]
        with self._changed:
            if not self._closing:
                self._queue.extendleft(reversed(kept))
                self._retry_after_s = time.monotonic() + RETRY_DELAY_S

    def _fail_queue(self) -> None:
        with self._changed:
            left = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for pending in left:
            pending.finish(SpoolBroken(self._health.broken or "the spool is closed"))
