"""What an asynchronous operations window gains, near and far: `python -m load.window_gain --help`.

Invariant: every figure is a ratio of pairs that ran one after the other in this very run, in
alternating order, against the real receive process; both sides send the same instances.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import geometric_mean

from load.delayed_link import delayed_link
from load.receivers.hilum import RunningHilum, run_hilum
from load.senders import LeanOptions, Planned, Target, send_lean
from load.studies import Identity, default_cache, templates

# Enough for a time box of the fastest link; identities are cheap.
_PLANNED = 6_000
_SEED = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """One time box: objects a second, and flushes for each object."""

    rate: float
    flushes_per_object: float


@dataclass(frozen=True, slots=True)
class Gain:
    """`wide` : `narrow`, pair by pair."""

    narrow: Sequence[Sample]
    wide: Sequence[Sample]

    @property
    def ratios(self) -> list[float]:
        return [w.rate / n.rate for n, w in zip(self.narrow, self.wide, strict=True)]

    @property
    def mean(self) -> float:
        """The geometric mean of the ratios."""
        return geometric_mean(self.ratios)


class Bench:
    """A running gateway, and time boxes of one association."""

    def __init__(self, gateway: RunningHilum, seconds: float) -> None:
        self._gateway = gateway
        self._seconds = seconds
        self._studies = count(1)

    def gain(self, target: Target, kind: str, window: int, pairs: int) -> Gain:
        """`window` against 1, in `pairs` pairs."""
        samples: dict[int, list[Sample]] = {1: [], window: []}
        for number in range(pairs):
            study = next(self._studies)
            for width in (1, window) if number % 2 else (window, 1):
                samples[width].append(self._sample(target, kind, width, study))
        return Gain(samples[1], samples[window])

    def _sample(self, target: Target, kind: str, window: int, study: int) -> Sample:
        template = templates(kind, cache=default_cache())
        planned = [
            Planned(template, Identity(_SEED, study, 1, number)) for number in range(_PLANNED)
        ]
        options = LeanOptions(window=window, seconds_max=self._seconds, is_time_box=True)
        before = self._gateway.flushes() or 0
        run = send_lean(target, planned, options)
        flushes = (self._gateway.flushes() or 0) - before
        assert run.window == window, f"negotiated {run.window} instead of {window}"
        assert run.acknowledged == len(run.outcomes), "an instance was not taken"
        self._gateway.clear()
        return Sample(run.acknowledged / run.seconds, flushes / run.acknowledged)


def main() -> None:
    """Runs all pairs and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m load.window_gain", description=__doc__)
    parser.add_argument("--kind", action="append", help="Of `hilum load studies`; ct, ct-small.")
    parser.add_argument("--window", type=int, default=8, choices=range(2, 17), metavar="2-16")
    parser.add_argument("--delay-ms", type=float, default=10.0, help="Each way, of the far link.")
    parser.add_argument("--seconds", type=float, default=2.0, help="Of one time box.")
    parser.add_argument("--pairs", type=int, default=3, choices=range(1, 51), metavar="1-50")
    options = parser.parse_args()
    print("| kind | link | window 1, objects/s | window N, objects/s | ratio | pairs | flushes |")
    with tempfile.TemporaryDirectory() as directory, ExitStack() as links:
        gateway = links.enter_context(run_hilum(Path(directory)))
        near = gateway.target
        far = links.enter_context(delayed_link(near.host, near.port, options.delay_ms / 1000))
        bench = Bench(gateway, options.seconds)
        for kind in options.kind or ("ct", "ct-small"):
            for name, target in (("near", near), ("far", replace(near, port=far))):
                _show(kind, name, bench.gain(target, kind, options.window, options.pairs))


def _show(kind: str, link: str, gain: Gain) -> None:
    narrow, wide = (
        sum(sample.rate for sample in side) / len(side) for side in (gain.narrow, gain.wide)
    )
    flushes = (
        sum(sample.flushes_per_object for sample in side) / len(side)
        for side in (gain.narrow, gain.wide)
    )
    pairs = " ".join(f"{ratio:.2f}" for ratio in gain.ratios)
    each = " : ".join(f"{value:.2f}" for value in flushes)
    print(f"| {kind} | {link} | {narrow:.0f} | {wide:.0f} | {gain.mean:.2f} | {pairs} | {each} |")


if __name__ == "__main__":
    main()
