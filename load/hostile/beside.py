"""One good sender, alone and beside a hostile peer in turns, and what the receiver held.

Invariant: both samples of a pair are of the same association and of the same second or two, so
that a ratio shows the hostile peer and not the machine's drift. A sample in which the good
sender was not sending all the time is left out, never counted as a low rate.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from load.hostile.footprint import Footprint, footprint, left_behind, memory_kept, settled
from load.hostile.options import HostileOptions
from load.hostile.peer import HostilePeer
from load.hostile.program import Acted, HostileProcess
from load.receivers import RunningReceiver
from load.report.model import Failure
from load.senders import LeanOptions, Outcome, Planned, SendRun, latency_histogram, send_lean
from load.studies import Identity, Template

# Connections come and go in this time; a sample begins after it.
GUARD_S = 0.1
# What the plan gives each change, GUARD_S included, and leaves at the end: a busy machine.
CHANGE_S = 0.25
TAIL_S = 0.5
# Fewer give no interval (load.compare.statistics): measured once more.
PAIRS_MIN = 3
TRIES = 2
START_TIMEOUT_S = 120.0
WARM_UP_S = 0.5
# The plan must not run out: beside a peer that slows nothing the rate is that of the warm-up.
PLAN_FACTOR = 3.0
RATE_GUESSED_MAX = 8_000.0
PLANNED_MAX = 200_000
EXAMPLES_MAX = 10
NO_ANSWER_COUNTS = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """A stretch of time (seconds since the epoch) with or without the hostile peer."""

    is_beside: bool
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Sender:
    """How the good sender behaved in the warm-up; the plan of each run is made from it."""

    template: Template
    seed: int
    rate: float = RATE_GUESSED_MAX / PLAN_FACTOR

    def plan(self, study: int, seconds: float) -> list[Planned]:
        """More instances than will be sent in `seconds`."""
        count = min(PLANNED_MAX, math.ceil(seconds * self.rate * PLAN_FACTOR) + 100)
        return [Planned(self.template, Identity(self.seed, study, 1, n)) for n in range(count)]


@dataclass(frozen=True, slots=True)
class Beside:
    """All about one hostile peer. `pairs` are (alone, beside) in instances per second.

    Latencies are in milliseconds, NaN where nothing was answered.
    """

    peer: HostilePeer
    pairs: tuple[tuple[float, float], ...]
    p99_alone_ms: float
    p99_beside_ms: float
    run: SendRun
    acted: Acted
    before: Footprint
    after: Footprint
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """A receiver that runs, the directory it stores below, and who is hostile to it."""

    running: RunningReceiver
    directory: Path
    process: HostileProcess

    def look(self) -> Footprint:
        """What the receiver holds at this moment."""
        return footprint(self.running.process_ids(), self.directory)


def warm_up(running: RunningReceiver, sender: Sender) -> Sender:
    """Sends for a moment; the sender with the rate that it showed."""
    plan = sender.plan(0, WARM_UP_S)
    options = LeanOptions(seconds_max=WARM_UP_S, is_time_box=True)
    run = send_lean(running.target, plan, options)
    running.clear()
    if not run.acknowledged:
        return sender
    return Sender(sender.template, sender.seed, run.rate)


def measure(scene: Scene, peer: HostilePeer, sender: Sender, options: HostileOptions) -> Beside:
    """Sends all the time while the peer acts in every second sample; then looks what is left.

    Once more where too few samples fell into the sending, as on a machine busy with other work,
    and where memory has grown: a leak does so again.
    """
    for _ in range(TRIES):
        found = _measure_once(scene, peer, sender, options)
        kept = memory_kept(_where(peer), found.before, found.after)
        missing = options.pairs - len(found.pairs)
        is_enough = len(found.pairs) >= min(PAIRS_MIN, options.pairs)
        if found.failures or (is_enough and not kept):
            return found
    failures = list(kept)
    if not is_enough:
        what = "pairs in which the sender did not send all the time"
        failures.append(Failure(_where(peer), what, missing))
    return replace(found, failures=tuple(failures))


def _measure_once(
    scene: Scene, peer: HostilePeer, sender: Sender, options: HostileOptions
) -> Beside:
    running = scene.running
    before = scene.look()
    changes_s = (options.pairs + 1) * CHANGE_S + options.pairs * peer.settle_s
    duration_s = 2 * options.pairs * options.seconds + changes_s + TAIL_S
    lean = LeanOptions(seconds_max=duration_s, is_time_box=True)
    plan = sender.plan(int(peer.key[1:]), duration_s)
    started = threading.Event()
    samples: list[Sample] = []
    acted = Acted()
    with ThreadPoolExecutor(1) as one_thread:
        sending = one_thread.submit(send_lean, running.target, plan, lean, started.set)
        # Set too where the sender could not begin: its result says why.
        sending.add_done_callback(lambda _: started.set())
        if started.wait(START_TIMEOUT_S) and not sending.done():
            time.sleep(GUARD_S)
            samples, acted = _take_samples(scene.process, peer, options)
        run = sending.result()
    is_alive = bool(running.process_ids())
    if is_alive:
        running.clear()
    after = settled(scene.look, before) if is_alive else scene.look()
    return _told(peer, samples, run, acted, (before, after))


def _take_samples(
    process: HostileProcess, peer: HostilePeer, options: HostileOptions
) -> tuple[list[Sample], Acted]:
    acted = Acted()
    samples = []
    is_acting = False
    for pair in range(options.pairs):
        # Alone first and beside first in turns: what drifts within a pair drifts both ways.
        for is_beside in (False, True) if pair % 2 == 0 else (True, False):
            if is_beside and not is_acting:
                process.start(peer.key)
            elif is_acting and not is_beside:
                acted += process.stop()
            if is_beside != is_acting:
                time.sleep(GUARD_S + (peer.settle_s if is_beside else 0.0))
            is_acting = is_beside
            start = time.time()
            time.sleep(options.seconds)
            samples.append(Sample(is_beside, start, time.time()))
    return samples, acted + process.stop() if is_acting else acted


def _told(
    peer: HostilePeer,
    samples: Sequence[Sample],
    run: SendRun,
    acted: Acted,
    held: tuple[Footprint, Footprint],
) -> Beside:
    pairs = complete_pairs(samples, run.outcomes)
    where = _where(peer)
    failures = [*answers_changed(where, run), *left_behind(where, *held)]
    if not held[1].processes:
        failures.append(Failure(where, "the receiver ended", 1))
    if not acted.turns:
        failures.append(Failure(where, "the hostile peer never came to act", 1))
    return Beside(
        peer=peer,
        pairs=pairs,
        p99_alone_ms=_p99_ms(run.outcomes, [one for one in samples if not one.is_beside]),
        p99_beside_ms=_p99_ms(run.outcomes, [one for one in samples if one.is_beside]),
        run=run,
        acted=acted,
        before=held[0],
        after=held[1],
        failures=tuple(failures),
    )


def _where(peer: HostilePeer) -> str:
    return f"beside {peer.key} {peer.title}"


def complete_pairs(
    samples: Sequence[Sample], outcomes: Sequence[Outcome]
) -> tuple[tuple[float, float], ...]:
    """(alone, beside) acknowledged per second, of the pairs that lie within the sending.

    A sample without any answer counts as NO_ANSWER_COUNTS of one.
    """
    if not outcomes:
        return ()
    first = min(one.sent_at for one in outcomes)
    last = max(one.answered_at or one.sent_at for one in outcomes)
    found = []
    for pair in zip(samples[::2], samples[1::2], strict=True):
        if all(first <= sample.start and sample.end <= last for sample in pair):
            rates = {sample.is_beside: _rate(sample, outcomes) for sample in pair}
            found.append((rates[False], rates[True]))
    return tuple(found)


def answers_changed(where: str, run: SendRun) -> tuple[Failure, ...]:
    """A failure for every answer to the good sender that is not 0000, and every lack of one."""
    warned = [one.sop_instance_uid for one in run.outcomes if one.is_warned]
    failures = [Failure(where, one.what, one.count, one.examples) for one in run.failures()]
    if warned:
        text = "C-STORE answered with a warning"
        failures.append(Failure(where, text, len(warned), tuple(warned[:EXAMPLES_MAX])))
    if not run.outcomes:
        failures.append(Failure(where, "the good sender sent nothing", 1))
    return tuple(failures)


def _rate(sample: Sample, outcomes: Sequence[Outcome]) -> float:
    count = sum(
        one.is_acknowledged
        and one.answered_at is not None
        and sample.start <= one.answered_at < sample.end
        for one in outcomes
    )
    # A sender that stands still has a ratio too: it got less than one answer.
    return max(count, NO_ANSWER_COUNTS) / (sample.end - sample.start)


def _p99_ms(outcomes: Sequence[Outcome], samples: Sequence[Sample]) -> float:
    # By the time of sending: an answer that came only after the peer had gone was held up by it.
    latencies = [
        one.latency_us
        for one in outcomes
        if one.latency_us is not None and any(s.start <= one.sent_at < s.end for s in samples)
    ]
    if not latencies:
        return math.nan
    return float(latency_histogram(latencies).get_value_at_percentile(99.0)) / 1000
