"""What several worker processes gain over one: `python -m load.worker_gain --help`.

Invariant: every figure is a ratio of pairs that ran one after the other in this very run, in
alternating order, against two real gateways that differ in the number of workers alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import geometric_mean

from load.compare.bench import alternating
from load.receivers.hilum import DEFAULTS, RunningHilum, run_hilum
from load.senders import LeanOptions, Planned, send_lean
from load.studies import Identity, default_cache, templates

# Enough for a time box of the fastest machine; identities are cheap.
_PLANNED = 40_000
_SEED = 1
# Kind of `hilum load studies`, and associations at once.
_LOADS = (("ct", 1), ("ct", 4), ("ct-small", 1), ("ct-small", 4))


@dataclass(frozen=True, slots=True)
class Cost:
    """One time box: objects a second; for a thousand of them the gateway's CPU, and flushes."""

    rate: float
    cpu_s: float
    flushes: float


@dataclass(frozen=True, slots=True)
class Pair:
    """The same load on one worker and on several."""

    one: Cost
    several: Cost


class Bench:
    """Both gateways, running; the one that waits costs nothing."""

    def __init__(self, one: RunningHilum, several: RunningHilum, seconds: float) -> None:
        self._one, self._several = one, several
        self._seconds = seconds
        self._studies = count(1)

    def pairs(self, kind: str, associations: int, how_many: int) -> list[Pair]:
        """So many pairs, in turn with either first."""
        costs: dict[bool, list[Cost]] = {False: [], True: []}
        for is_several in alternating((False, True), how_many):
            gateway = self._several if is_several else self._one
            costs[is_several].append(self._sample(gateway, kind, associations))
        return [Pair(*pair) for pair in zip(costs[False], costs[True], strict=True)]

    def _sample(self, gateway: RunningHilum, kind: str, associations: int) -> Cost:
        template, study = templates(kind, cache=default_cache()), next(self._studies)
        planned = [
            Planned(template, Identity(_SEED, study, 1, number)) for number in range(_PLANNED)
        ]
        options = LeanOptions(
            associations=associations, seconds_max=self._seconds, is_time_box=True
        )
        before_s, flushes = gateway.cpu_s(), gateway.flushes() or 0
        run = send_lean(gateway.target, planned, options)
        cpu_s, flushes = gateway.cpu_s() - before_s, (gateway.flushes() or 0) - flushes
        assert run.acknowledged == len(run.outcomes), "an instance was not taken"
        gateway.clear()
        thousands = run.acknowledged / 1000
        return Cost(run.acknowledged / run.seconds, cpu_s / thousands, flushes / thousands)


def main() -> None:
    """Runs all pairs and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m load.worker_gain", description=__doc__)
    parser.add_argument("--workers", type=int, default=2, choices=range(2, 17), metavar="2-16")
    parser.add_argument("--seconds", type=float, default=1.5, help="Of one time box.")
    parser.add_argument("--pairs", type=int, default=5, choices=range(1, 51), metavar="1-50")
    parser.add_argument("--segment-mib", type=int, help="Of the spools; production's by default.")
    options = parser.parse_args()
    spool = {"segment_bytes": options.segment_mib << 20} if options.segment_mib else DEFAULTS
    print("| kind | associations | 1 worker, /s | N workers, /s | ratio | pairs | CPU | flushes |")
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        one, several = (
            running.enter_context(run_hilum(Path(directory, str(workers)), spool, workers=workers))
            for workers in (1, options.workers)
        )
        bench = Bench(one, several, options.seconds)
        for kind, associations in _LOADS:
            _show(kind, associations, bench.pairs(kind, associations, options.pairs))


def _show(kind: str, associations: int, pairs: Sequence[Pair]) -> None:
    ratios = [pair.several.rate / pair.one.rate for pair in pairs]
    one = sum(pair.one.rate for pair in pairs) / len(pairs)
    several = sum(pair.several.rate for pair in pairs) / len(pairs)
    cpu = geometric_mean(pair.several.cpu_s / pair.one.cpu_s for pair in pairs)
    flushes = geometric_mean(pair.several.flushes / pair.one.flushes for pair in pairs)
    told = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(
        f"| {kind} | {associations} | {one:.0f} | {several:.0f} | {geometric_mean(ratios):.2f} "
        f"| {told} | {cpu:.2f} | {flushes:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
