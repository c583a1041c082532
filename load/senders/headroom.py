"""How far a sender stood below its own ceiling: what it sent against what it alone can send.

Invariant: the share of the ceiling is never told too low: it is that of the busiest second, by
instances or by bytes, whichever is more. It must not judge the receiver.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from load.report.model import Figure, Table, Verdict
from load.senders.ceiling import ceiling_run
from load.senders.model import ASSOCIATIONS_MAX, LeanOptions, Outcome, Planned, SendRun

# How long the ceiling is taken, at most; and how many instances that may be.
CEILING_S = 1.5
CEILING_INSTANCES_MAX = 40_000
# Every process holds all templates of the mix: a tomosynthesis has 300 MB.
TEMPLATE_BYTES_MAX = 2 * 1024**3
# Below twice what was sent, the sender may have been what was measured.
HEADROOM_MIN = 2.0
NAME = "sender.headroom"
_WINDOW_S = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Instances and megabytes (10^6) in a second."""

    instances_per_s: float
    megabytes_per_s: float


@dataclass(frozen=True, slots=True)
class Headroom:
    """The sender's ceiling, its busiest second, and the cores that its processes kept busy."""

    ceiling: Pace
    busiest: Pace
    cores_busy: float

    @property
    def times(self) -> float | None:
        """How many times the busiest second the sender can do; None where nothing was sent.

        An instance costs something and a byte costs something, so that the larger of the two
        shares is no less than the share of both together.
        """
        most, sent = self.ceiling, self.busiest
        if not (most.instances_per_s and most.megabytes_per_s and sent.instances_per_s):
            return None
        by_instances = most.instances_per_s / sent.instances_per_s
        return min(by_instances, most.megabytes_per_s / sent.megabytes_per_s)

    @property
    def warning(self) -> str:
        """What to think of where the sender was over half of its ceiling; '' where it was not."""
        times = self.times
        if times is None or times >= HEADROOM_MIN:
            return ""
        return (
            f"the sender was at {1 / times:.0%} of its own ceiling in its busiest second: the "
            "receiver may be faster than it seems"
        )

    def figure(self, name: str = NAME, of: str = "") -> Figure:
        """The headroom as a figure; its note is the warning."""
        title = "the sender's own ceiling : its busiest second" + (f" ({of})" if of else "")
        if self.times is None:
            note = "nothing was sent, or the ceiling could not be taken"
            return Figure(name, title, "times", Verdict.NOT_MEASURED, note=note)
        ours = (self.times,)
        return Figure(name, title, "times", Verdict.SHOWN, self.times, ours=ours, note=self.warning)

    def table(self) -> Table:
        """Ceiling, busiest second and CPU side by side; a warning stands below."""
        rows = tuple(
            (what, round(pace.instances_per_s, 1), round(pace.megabytes_per_s, 1))
            for what, pace in (
                ("its ceiling, into a receiver that drops everything", self.ceiling),
                ("its busiest second in this run", self.busiest),
            )
        )
        times = self.times
        share = "–" if times is None else f"{1 / times:.0%}"
        note = (
            f"Share of the ceiling: {share}. Its processes kept {self.cores_busy:.2f} of "
            f"{os.cpu_count()} cores busy while they sent."
        )
        warning = f" Warning: {self.warning}." if self.warning else ""
        return Table("The sender itself", ("pace", "instances/s", "MB/s"), rows, note + warning)


def headroom(ceiling: SendRun, sends: Sequence[SendRun]) -> Headroom:
    """The headroom of runs that were sent at once or one after the other."""
    outcomes = [one for send in sends for one in send.outcomes if one.answered_at is not None]
    seconds = _seconds(outcomes)
    return Headroom(
        Pace(ceiling.rate, ceiling.megabytes_per_s),
        _busiest(outcomes),
        sum(send.cpu_s for send in sends) / seconds if seconds else 0.0,
    )


def mix_ceiling(lanes: Sequence[tuple[Sequence[Planned], LeanOptions]], seconds: float) -> SendRun:
    """What one sender can do with the mix of all lanes, as fast as answers come.

    At most `seconds` long; it has as many processes as cores can carry, and the lanes'
    associations. Raises FatalError where the null receiver does not come up.
    """
    planned = _mixed([instances for instances, _ in lanes])
    templates = {id(one.template): len(one.template.data_set) for one in planned}
    fitting = max(1, TEMPLATE_BYTES_MAX // max(1, sum(templates.values())))
    processes = min(len(lanes), os.cpu_count() or 1, fitting)
    wanted = sum(options.processes * options.associations for _, options in lanes)
    options = LeanOptions(
        processes=processes,
        associations=min(ASSOCIATIONS_MAX, max(1, wanted // processes)),
        window=min(options.window for _, options in lanes),
        seconds_max=seconds,
        is_time_box=True,
    )
    return ceiling_run(planned, options)


def _mixed(lanes: Sequence[Sequence[Planned]]) -> list[Planned]:
    """All lanes interleaved in proportion, again and again: a receiver that drops does not mind."""
    placed = [
        ((number + 0.5) / len(lane), which, one)
        for which, lane in enumerate(lanes)
        for number, one in enumerate(lane)
    ]
    placed.sort(key=lambda place: place[:2])
    mix = [one for _, _, one in placed[:CEILING_INSTANCES_MAX]]
    return (mix * (CEILING_INSTANCES_MAX // len(mix) + 1))[:CEILING_INSTANCES_MAX]


def _busiest(outcomes: Iterable[Outcome]) -> Pace:
    """The most in any second; all there is where it took less than one."""
    ordered = sorted(outcomes, key=lambda one: one.sent_at)
    if not ordered:
        return Pace(0.0, 0.0)
    times = [one.sent_at for one in ordered]
    sizes = [0, *accumulate(one.size_bytes for one in ordered)]
    firsts = [bisect_left(times, at - _WINDOW_S) for at in times]
    window_s = min(_WINDOW_S, max(_seconds(ordered), 1e-6))
    count = max(last + 1 - first for last, first in enumerate(firsts))
    size = max(sizes[last + 1] - sizes[first] for last, first in enumerate(firsts))
    return Pace(count / window_s, size / window_s / 1e6)


def _seconds(outcomes: Iterable[Outcome]) -> float:
    """How long anything was being sent; gaps between runs left out."""
    spans = sorted((one.sent_at, one.answered_at or one.sent_at) for one in outcomes)
    total, until = 0.0, 0.0
    for begin, end in spans:
        # A pace leaves gaps too: only what is longer than a second is between two runs.
        begin = until if until and begin - until < _WINDOW_S else max(begin, until)
        total += max(0.0, end - begin)
        until = max(until, end)
    return total
