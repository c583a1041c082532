"""The only poll loop: gather, write, dead-letter, commit, gather.

Invariant: an offset is committed only when every record before it is written or its dead letter
is acknowledged; nothing is in flight across a batch; nothing is ever dropped. What fails and may
heal is tried again for ever with the member kept in its group, what is ours to mend stops the
process.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from consumers.dead_letter import DeadLetter, publish_dead_letters
from consumers.gather import POLL_MS_MIN, Batch, Gatherer
from consumers.idle_watch import IdleWatch
from consumers.rejections import RejectionBudget
from consumers.spec import BatchLimits, ConsumerSpec, Record, Rejection, Writer
from contracts.failures import FatalError, HilumError, PoisonError, RetryableError
from infra.connect import Engines
from infra.group_consumer import GroupConsumer, RebalancedError
from infra.schema_topic import SchemaLookup
from infra.settings import ConsumerSettings
from infra.telemetry import Readiness, logger

T = TypeVar("T")

RETRY_S_MIN, RETRY_S_MAX = 0.2, 15.0
TICK_S = 1.0
LOOK_S = 5.0  # lag, topic ids and idle partitions
# Between the writes of a bisection the group hears of us at least this often.
MEMBERSHIP_S = 5.0
_log = logger("runner")


class _BatchLostError(Exception):
    """The batch in hand belongs to somebody else now, or comes again: drop it."""


@dataclass(slots=True)
class _Chore:
    """Periodic work between batches; while it fails, deliveries go on and it says so."""

    work: Callable[[], None]
    every_s: float
    due_at: float = 0.0
    failures: int = 0


class Runner:
    """Runs one consumer until `stop` is set. `readiness` may be read from any thread.

    `member` is the process's name, under which its group knows it again after a restart.
    """

    def __init__(
        self,
        spec: ConsumerSpec,
        engines: Engines,
        own: ConsumerSettings,
        stop: threading.Event,
        *,
        member: str | None = None,
    ) -> None:
        self._spec = spec
        self._engines = engines
        self._clock = engines.clock
        self._stop = stop
        limits = effective_limits(spec.limits, own)
        self._consumer = GroupConsumer(
            engines.settings.kafka,
            spec.name,
            [topic.name for topic in spec.inputs],
            limits.poll_interval_ms_max,
            member=member,
        )
        schemas = SchemaLookup(engines.settings.kafka)
        self._gatherer = Gatherer(spec, limits, self._consumer, engines.clock, schemas)
        self._budget = RejectionBudget()
        self._idle_watch = IdleWatch(self._consumer, engines.metrics)
        self._chores: list[_Chore] = []
        self._polled_at = self._clock.monotonic()
        self._failures = 0
        self.readiness = Readiness(False, "starting")

    def run(self) -> None:
        """Returns once `stop` is set and the group is left.

        Raises FatalError; then nothing of the batch in hand is committed.
        """
        try:
            writer = self.begin()
            try:
                while not self._stop.is_set():
                    self.step(writer)
            finally:
                writer.close()
        except HilumError as cause:
            self.readiness = Readiness(False, f"stopped: {cause}")
            raise
        finally:
            self._leave()

    def begin(self) -> Writer:
        """The writer, for `step`; the caller closes it. Raises FatalError."""
        writer = self._spec.build(self._engines)
        self._chores = [_Chore(writer.tick, TICK_S), _Chore(self._look, LOOK_S)]
        return writer

    def step(self, writer: Writer) -> None:
        """What is due, then one batch from its gathering to its commit. Raises FatalError."""
        try:
            self._do_chores()
            batch = self._gather()
            self._failures = 0
            if batch is not None:
                self._deliver(batch, writer)
        except RetryableError as cause:  # from gathering: nothing is in hand
            self._failures += 1
            self._note_retry(cause)
            self._clock.wait(self._stop, retry_delay_s(self._failures))
        except _BatchLostError as lost:
            _log.info("batch dropped", why=str(lost))

    def _gather(self) -> Batch | None:
        batch = self._gatherer.gather(self._stop)
        self._polled_at = self._clock.monotonic()
        if self._consumer.has_joined and not any(chore.failures for chore in self._chores):
            self._running()
        return batch

    def _deliver(self, batch: Batch, writer: Writer) -> None:
        """One batch: written, its refusals acknowledged as dead letters, then committed."""
        started = self._clock.monotonic()
        rejections = self._persist(batch, lambda: self._write(writer, batch.records))
        letters = batch.dead_letters(rejections)
        refused = {id(letter.record) for letter in letters}
        self._budget.note(id(record) in refused for record in batch.raw)
        if letters:
            self._persist(batch, lambda: self._dead_letter(letters))
        try:
            self._persist(batch, lambda: self._consumer.commit(batch.next_offsets()))
        except RebalancedError as cause:
            self._consumer.seek(batch.first_offsets())
            raise _BatchLostError(str(cause)) from cause
        self._count(batch, letters, self._clock.monotonic() - started)

    def _write(self, writer: Writer, records: Sequence[Record[Any]]) -> list[Rejection]:
        """Writes records, halving on a PoisonError until its culprit stands alone."""
        if not records:
            return []
        try:
            return list(writer.write(records))
        except PoisonError as cause:
            if len(records) == 1:
                return [Rejection(records[0], cause.reason, cause.detail)]
        middle = len(records) // 2
        self._keep_membership()
        first = self._write(writer, records[:middle])
        self._keep_membership()
        return first + self._write(writer, records[middle:])

    def _dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        try:
            publish_dead_letters(
                self._engines.publisher, self._spec.name, letters, self._clock.now()
            )
        except PoisonError as cause:
            raise FatalError(
                f"publishing a dead letter: {cause}",
                "raise max.message.bytes of the .dlq topics (`hilum up` does it)",
            ) from cause

    def _persist(self, batch: Batch, work: Callable[[], T]) -> T:
        """The result of `work`, which is repeated until nothing that may heal stops it.

        Raises _BatchLostError once the batch is not ours any more (a rebalance, or a stop).
        """
        attempt = 0
        while True:
            try:
                return work()
            except RetryableError as cause:
                attempt += 1
                self._note_retry(cause)
                self._stay_in_group(retry_delay_s(attempt))
                if self._stop.is_set():
                    raise _BatchLostError("asked to stop") from cause

    def _stay_in_group(self, seconds: float) -> None:
        """Waits while the group hears of us and hands us nothing."""
        until = self._clock.monotonic() + seconds
        while True:
            self._poll_paused()
            left = until - self._clock.monotonic()
            if left <= 0 or self._stop.is_set():
                break
        self._consumer.resume()

    def _poll_paused(self) -> None:
        # Anew each round: what a rebalance assigns arrives un-paused, and the poll that finishes
        # the rebalance hands records out at once.
        self._consumer.pause()
        try:
            handed_out = self._consumer.poll(POLL_MS_MIN, 1)
        except RetryableError as cause:
            _log.debug("keeping the membership", why=str(cause))
            self._clock.wait(self._stop, POLL_MS_MIN / 1000)
            handed_out = []
        self._polled_at = self._clock.monotonic()
        self._consumer.seek(Batch(raw=handed_out).first_offsets())
        if self._consumer.take_interruption():
            self._consumer.resume()
            raise _BatchLostError("the group was rebalanced")

    def _keep_membership(self) -> None:
        if self._clock.monotonic() - self._polled_at > MEMBERSHIP_S:
            self._poll_paused()
            self._consumer.resume()

    def _do_chores(self) -> None:
        for chore in self._chores:
            if self._clock.monotonic() < chore.due_at:
                continue
            try:
                chore.work()
                chore.failures = 0
                delay_s = chore.every_s
            except RetryableError as cause:
                self._note_retry(cause)
                chore.failures += 1
                delay_s = max(chore.every_s, retry_delay_s(chore.failures))
            chore.due_at = self._clock.monotonic() + delay_s

    def _look(self) -> None:
        """Lag, and a new connection for a member that does not get what is there."""
        if reason := self._idle_watch.look(self._gatherer.polling_s):
            self.readiness = Readiness(False, reason)

    def _count(self, batch: Batch, letters: Sequence[DeadLetter], seconds: float) -> None:
        metrics = self._engines.metrics
        metrics.observe("hilum_consumer_batch_seconds", seconds)
        written = len(batch.raw) - len(letters)
        metrics.count("hilum_consumer_records_total", written, outcome="written")
        metrics.count("hilum_consumer_records_total", len(letters), outcome="dead_lettered")
        for letter in letters:
            metrics.count("hilum_consumer_dead_letters_total", reason=letter.reason.value)
            _log.warning(
                "dead letter",
                topic=letter.record.topic,
                partition=letter.record.partition,
                offset=letter.record.offset,
                reason=letter.reason.value,
            )

    def _running(self) -> None:
        if not self.readiness.is_ready:
            self.readiness = Readiness(True, "running")
            _log.info("running", consumer=self._spec.name)

    def _note_retry(self, cause: RetryableError) -> None:
        self._engines.metrics.count("hilum_consumer_retries_total")
        reason = f"retrying: {cause}"
        if self.readiness.reason != reason:
            _log.warning("retrying", why=str(cause))
        self.readiness = Readiness(False, reason)

    def _leave(self) -> None:
        try:
            self._consumer.close()
        except HilumError as cause:
            _log.info("leaving the group", why=str(cause))


def effective_limits(limits: BatchLimits, own: ConsumerSettings) -> BatchLimits:
    """The consumer's limits with what the settings say instead.

    Whoever sets an age or a size gets batches that wait for it.
    """
    is_own = own.batch_age_ms_max is not None or own.batch_bytes_max is not None
    return replace(
        limits,
        quiet_ms=None if is_own else limits.quiet_ms,
        ripe_bytes=None if is_own else limits.ripe_bytes,
        records_max=own.batch_records_max or limits.records_max,
        bytes_max=own.batch_bytes_max or limits.bytes_max,
        age_ms_max=limits.age_ms_max if own.batch_age_ms_max is None else own.batch_age_ms_max,
    )


def retry_delay_s(attempt: int) -> float:
    """Seconds before attempt number `attempt` + 1: doubling, with full jitter of one half."""
    ceiling = min(RETRY_S_MAX, RETRY_S_MIN * 2.0 ** min(attempt - 1, 16))
    return ceiling * random.uniform(0.5, 1.0)
