"""Group commit: whoever waits first writes for all that wait, and one flush acknowledges them.

Invariant: a record's waiter returns without an error only after the flush that covers the record
returned. After a failed flush nothing is acknowledged any more (health.py). A sequence number is
used once, also by a write that failed, so what it left behind the tail is foreign for ever.
Must not know what a record means, except for the ledger that goes into checkpoints.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque

from edge_gateway.spool.batch import write_batch
from edge_gateway.spool.errors import SpoolBroken, SpoolError, SpoolFull, SpoolStalled
from edge_gateway.spool.health import SpoolHealth
from edge_gateway.spool.limits import (
    BATCH_BYTES_MAX,
    BATCH_RECORDS_MAX,
    RETRY_DELAY_S,
    SpoolLimits,
)
from edge_gateway.spool.log import SpoolLog
from edge_gateway.spool.pending import Pending


class Committer:
    """The queue of records, and the turn to write it, which one thread has at a time.

    A thread that commits while nobody has the turn takes it: no other thread is woken for a lone
    association's flush. What gathers behind a flush is written by the first that waits there.
    The committer's own thread writes records that no thread waits for, and is the watch: who leads
    is in the kernel until its flush returns, so at its deadline `when_stalled` is called in its
    place, while all others give up by themselves.
    """

    def __init__(self, log: SpoolLog, limits: SpoolLimits, health: SpoolHealth) -> None:
        self._log = log
        self._limits = limits
        self._health = health
        self._changed = threading.Condition(threading.Lock())
        self._queue: deque[Pending] = deque()
        self._is_led = False
        # The association that has the turn; None also while the thread has it.
        self._leader: Pending | None = None
        # A record stands in the queue whose sender waits for it though none of its threads does.
        self._is_pressed = False
        # When the thread looks by itself: it is woken only for what comes before that.
        self._looks_at_s = -math.inf
        self._retry_after_s = 0.0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="spool-committer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def append(self, pending: Pending) -> None:
        """Queues a record; flushed with the next commit, at the latest after `receipt_delay_ms`.

        Waits while the queue is full. Raises SpoolBroken, and SpoolFull when it stays full.
        """
        with self._changed:
            self._enqueue(pending)
            if not self._is_led:
                self._wake_for(self._due_s())

    def commit(self, pending: Pending) -> None:
        """Returns when the record is flushed. Raises SpoolFull, SpoolBroken or SpoolStalled."""
        try:
            with self._changed:
                self._enqueue(pending)
                if not self._is_led:
                    self._give_turn(pending)
        except SpoolError as error:
            pending.finish(error)
            raise
        if not pending.leads and not pending.wait(self.deadline_s(pending)):
            self._give_up(pending)
        if pending.leads and not pending.is_finished:
            self._lead(pending)
        if pending.is_given_up:
            raise self._stalled()
        if not pending.is_finished:  # it led when the spool broke, and was taken but not told
            raise SpoolBroken(self._health.broken or "the record was not written")
        pending.require_written()

    def submit(self, pending: Pending) -> None:
        """Queues a record whose `when_finished` is set; the thread writes it at once.

        Raises as `append`: `when_finished` is not called then, but `give_back` is.
        """
        try:
            with self._changed:
                self._enqueue(pending)
                self._is_pressed = True
                if not self._is_led:
                    self._wake_for(0.0)
        except SpoolError:
            pending.give_back()
            raise

    def require_flushed(self, pending: Pending) -> None:
        """Returns when the submitted record, now finished or given up, is flushed.

        Raises as `commit`.
        """
        if self._give_up(pending):
            raise self._stalled()
        pending.require_written()

    def deadline_s(self, pending: Pending) -> float:
        """When its sender is told that it was not stored, whatever becomes of it."""
        return pending.queued_at_s + self._limits.commit_wait_ms / 1000

    def close(self) -> None:
        """Writes what is queued, then stops; a record that finds no room is given up."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _enqueue(self, pending: Pending) -> None:
        deadline_s = self.deadline_s(pending)
        while len(self._queue) >= self._limits.records_queued_max:
            self._require_open()
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise SpoolFull("queueing a record: the queue of the spool stays full")
            self._changed.wait(left_s)
        self._require_open()
        self._queue.append(pending)

    def _require_open(self) -> None:
        self._health.require()
        if self._closing:
            raise SpoolBroken("the spool is closed")

    def _give_up(self, pending: Pending) -> bool:
        with self._changed:
            # Both may have come at the last moment.
            if not (pending.leads or pending.is_finished):
                pending.is_given_up = True
            return pending.is_given_up

    def _stalled(self) -> SpoolStalled:
        waited_ms = self._limits.commit_wait_ms
        return SpoolStalled(f"waiting for a flush: not back after {waited_ms} ms")

    def _give_turn(self, pending: Pending) -> None:
        pending.leads = True
        self._is_led, self._leader = True, pending
        self._wake_for(self.deadline_s(pending))

    def _wake_for(self, moment_s: float) -> None:
        if moment_s < self._looks_at_s:
            self._changed.notify_all()

    def _due_s(self) -> float:
        """When the first record of the queue is to be written though nobody waits for it."""
        if not self._queue:
            return math.inf
        if self._closing or self._is_pressed:
            return 0.0
        due_s = self._queue[0].queued_at_s + self._limits.receipt_delay_ms / 1000
        return max(due_s, self._retry_after_s)

    def _run(self) -> None:
        try:
            while self._wait_for_turn():
                self._lead(None)
        finally:
            # Reached without `close` only by a fault of ours: then nobody may wait for ever.
            if not self._closing:
                self._health.declare_broken("the committer stopped")
            self._fail_queue()

    def _wait_for_turn(self) -> bool:
        """Keeps watch until a record is due that nobody waits for; False at the end."""
        while True:
            with self._changed:
                stalled = self._stalled_leader()
                if stalled is None:
                    if self._is_led:
                        self._sleep_until(self._leader_deadline_s())
                    elif self._health.broken is not None or (self._closing and not self._queue):
                        return False
                    elif self._due_s() <= time.monotonic():
                        self._is_led = True
                        return True
                    else:
                        self._sleep_until(self._due_s())
            if stalled is not None:
                # Outside the lock: what it does is not ours.
                stalled.when_stalled()

    def _sleep_until(self, moment_s: float) -> None:
        self._looks_at_s = moment_s
        left_s = moment_s - time.monotonic()
        self._changed.wait(None if math.isinf(left_s) else max(0.0, left_s))
        self._looks_at_s = -math.inf

    def _stalled_leader(self) -> Pending | None:
        if self._leader is None or self._leader_deadline_s() > time.monotonic():
            return None
        self._leader.is_given_up = True
        return self._leader

    def _leader_deadline_s(self) -> float:
        if self._leader is None or self._leader.is_given_up:
            return math.inf
        return self.deadline_s(self._leader)

    def _lead(self, own: Pending | None) -> None:
        """Writes one batch, and on until `own` is finished; then passes the turn on."""
        batch: list[Pending] = []
        is_whole = False
        try:
            while batch := self._take_batch():
                self._write(batch)
                # A long queue of receipts may stand before it.
                if own is None or own.is_finished:
                    break
            is_whole = True
        finally:
            if not is_whole:
                self._stop_for_fault(batch)
            self._pass_turn()

    def _stop_for_fault(self, batch: list[Pending]) -> None:
        self._health.declare_broken("writing a batch stopped")
        for pending in batch:
            if not pending.is_finished:
                pending.finish(SpoolBroken("writing a batch stopped"))

    def _take_batch(self) -> list[Pending]:
        batch: list[Pending] = []
        size_bytes = 0
        with self._changed:
            if self._health.broken is not None:
                return batch
            was_full = len(self._queue) >= self._limits.records_queued_max
            while self._queue and len(batch) < BATCH_RECORDS_MAX and size_bytes < BATCH_BYTES_MAX:
                batch.append(self._queue.popleft())
                size_bytes += batch[-1].size_bytes
            self._is_pressed = self._is_pressed and bool(self._queue)
            if was_full:
                self._changed.notify_all()
        return batch

    def _pass_turn(self) -> None:
        with self._changed:
            self._is_led, self._leader = False, None
            is_broken = self._health.broken is not None
            heir = next((one for one in self._queue if one.is_waiting), None)
            if heir is not None and not is_broken:
                self._give_turn(heir)
                heir.wake()
            elif is_broken or self._closing:
                self._changed.notify_all()
            else:
                self._wake_for(self._due_s())
        if is_broken:
            self._fail_queue()

    def _write(self, batch: list[Pending]) -> None:
        left, error = write_batch(self._log, batch)
        if isinstance(error, SpoolFull):
            self._refuse(left, error)
        elif error is not None:
            self._health.declare_broken(str(error))
            for pending in left:
                pending.finish(error)

    def _refuse(self, batch: list[Pending], error: SpoolFull) -> None:
        """Deliveries go back to their senders, those still queued too: they would meet the same.

        Receipts are facts already and wait for room.
        """
        with self._changed:
            left = [*batch, *self._queue]
            self._queue.clear()
            self._is_pressed = False
            if not self._closing:
                self._queue.extend(pending for pending in left if not pending.is_waited_for)
                self._retry_after_s = time.monotonic() + RETRY_DELAY_S
            self._changed.notify_all()
        for pending in left:
            if pending.is_waited_for:
                pending.finish(error)

    def _fail_queue(self) -> None:
        with self._changed:
            left = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for pending in left:
            pending.finish(SpoolBroken(self._health.broken or "the spool is closed"))
