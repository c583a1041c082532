"""One column of the ingest matrix, measured: receivers in alternating turns, same instances.

Invariant: a run in which one instance was not acknowledged is no sample; it is a failure by name
and its receiver leaves the column. It must not know what a goal is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hdrh.histogram import HdrHistogram

from contracts.failures import HilumError
from load.compare.bench import Bench, settle
from load.compare.goals import Cell
from load.compare.sending import CellSender
from load.receivers import RunningReceiver
from load.report.model import Failure
from load.senders import SendRun

# A count is raised when a sample took less than this share of what it should.
_TOO_SHORT = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of the sender against one receiver. `cpu_s` and `flushes` are the receiver's."""

    rate: float
    megabytes_per_s: float
    seconds: float
    acknowledged: int
    cpu_s: float
    flushes: int | None
    sender_share: float
    latency: HdrHistogram


@dataclass(slots=True)
class Column:
    """What one cell gave: samples by receiver, turn by turn, and why a receiver has none."""

    cell: Cell
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    # The lean sender's own rate into a receiver that drops everything.
    ceiling: float | None = None

    def rates(self, key: str) -> tuple[float, ...]:
        """Instances per second of each turn; () for a receiver that was dropped."""
        return () if key in self.dropped else tuple(s.rate for s in self.samples.get(key, ()))


class Contest:
    """Measures one cell over running receivers, in the order of their mapping and back."""

    def __init__(
        self, sender: CellSender, receivers: Mapping[str, RunningReceiver], bench: Bench
    ) -> None:
        self._sender = sender
        self._receivers = receivers
        self._bench = bench
        self._column = Column(sender.cell, {key: [] for key in receivers})
        self._counts: dict[str, int] = {}
        self._sample_s = bench.sample_s * sender.longer
        self._study = 0

    @property
    def column(self) -> Column:
        """What is measured so far."""
        return self._column

    def run(self) -> Column:
        """A warm-up of all, then `rounds` turns, each in the other direction than the last."""
        keys = list(self._receivers)
        for key in keys:
            self.warm_up(key)
        for turn in range(self._bench.rounds):
            self.begin_turn()
            for key in keys if turn % 2 == 0 else keys[::-1]:
                self.sample(key)
        return self.finish()

    def warm_up(self, key: str) -> None:
        """Finds how many instances take one sample's time, then sends as many.

        What a receiver allocates once (our segments, a database's pages) is there before the
        clock runs.
        """
        self._study += 1
        first = self._send(key, self._sender.count_min)
        if first is not None:
            self._counts[key] = self._sized(first.rate)
            self._study += 1
            second = self._send(key, self._counts[key])
            if second is not None:
                self._counts[key] = self._sized(second.rate)
        self._bench.pace.advance(self._sample_s)

    def begin_turn(self) -> None:
        """From now on other instances are sent."""
        self._study += 1

    def sample(self, key: str) -> None:
        """One more sample of a receiver, unless it was dropped."""
        sample = None if key in self._column.dropped else self._send(key, self._counts[key])
        if sample is not None:
            self._column.samples[key].append(sample)
            if sample.seconds < self._sample_s * _TOO_SHORT:
                self._counts[key] = self._sized(sample.rate)
        self._bench.pace.advance(self._sample_s)

    def finish(self) -> Column:
        """Everything, with the lean sender's own ceiling at the largest count that was sent."""
        if self._sender.cell.is_lean and self._counts:
            self._column.ceiling = self._sender.ceiling(max(self._counts.values()), self._study)
            self._bench.pace.advance(self._sample_s)
        return self._column

    def _sized(self, rate: float) -> int:
        wanted = round(rate * self._sample_s)
        return max(self._sender.count_min, min(self._sender.count_max, wanted))

    def _send(self, key: str, count: int) -> Sample | None:
        """One run; None, and the receiver dropped, when an instance or the receiver failed."""
        try:
            sample, failures = self._run(self._receivers[key], count)
        except (HilumError, OSError) as cause:
            sample, failures = None, [Failure(key, str(cause), 1)]
        if failures:
            self._drop(key, failures)
            return None
        return sample

    def _run(
        self, receiver: RunningReceiver, count: int
    ) -> tuple[Sample | None, Sequence[Failure]]:
        self._sender.prepare(count, self._study)
        settle()
        flushes, cpu_s = receiver.flushes(), receiver.cpu_s()
        run = self._sender.send(receiver.target, count, self._study)
        failures = run.failures()
        if failures or not run.acknowledged:
            return None, failures or [Failure(run.target, "nothing was acknowledged", 1)]
        sample = _sample_of(run, receiver, cpu_s, flushes)
        receiver.clear()
        return sample, ()

    def _drop(self, key: str, failures: Sequence[Failure]) -> None:
        where = f"{key}, {self._sender.cell.title}"
        told = [Failure(where, one.what, one.count, one.examples) for one in failures]
        self._column.failures.extend(told)
        self._column.dropped[key] = "; ".join(f"{one.what} ({one.count}×)" for one in told)
        self._bench.pace.note(f"{where}: {self._column.dropped[key]}")


def _sample_of(
    run: SendRun, receiver: RunningReceiver, cpu_s: float, flushes: int | None
) -> Sample:
    flushed = receiver.flushes()
    return Sample(
        rate=run.rate,
        megabytes_per_s=run.megabytes_per_s,
        seconds=run.seconds,
        acknowledged=run.acknowledged,
        cpu_s=receiver.cpu_s() - cpu_s,
        flushes=None if flushes is None or flushed is None else flushed - flushes,
        sender_share=run.sender_share,
        latency=run.latency,
    )
