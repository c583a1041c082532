"""What every measurement is given and what it gives back.

Invariant: a measurement never averages a failure away: what a receiver refused is in `failures`
and its goal in `absent`. It must not print, nor decide a verdict.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from load.compare.goals import Samples
from load.compare.pace import Pace
from load.report.model import Failure, Figure, Section
from load.senders import StockProgram

T = TypeVar("T")

ROUNDS = 5
SAMPLE_S_MIN, SAMPLE_S_MAX = 0.3, 4.0


class Mode(StrEnum):
    """How long a run may take."""

    QUICK = "quick"
    FULL = "full"


# The promise is under 5 and under 20 minutes on two cores; the rest is for a busy machine.
SECONDS_PLANNED = {Mode.QUICK: 255.0, Mode.FULL: 980.0}


@dataclass(frozen=True, slots=True)
class Bench:
    """The bounds and places of one run. `sample_s` is how long one sample of a rate shall take."""

    mode: Mode
    seed: int
    sample_s: float
    directory: Path
    reports: Path
    pace: Pace
    with_profile: bool = False
    rounds: int = ROUNDS
    stock: StockProgram = "storescu"


@dataclass(frozen=True, slots=True)
class Measured:
    """What one measurement found. `absent`: goal name → why it has no value."""

    samples: Mapping[str, Samples] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    sections: tuple[Section, ...] = ()
    failures: tuple[Failure, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement: `fixed_s` is what it takes besides `samples` samples of `sample_s`.

    A sample that lasts twice as long counts as two.
    """

    key: str
    title: str
    fixed_s: float
    samples: float
    measure: Callable[[Bench], Measured]

    def estimate_s(self, sample_s: float) -> float:
        """Seconds that it will take, about."""
        return self.fixed_s + self.samples * sample_s


def sample_seconds(measurements: Sequence[Measurement], seconds: float) -> float:
    """How long a sample may take so that all of them end within `seconds`, within its bounds."""
    fixed = sum(measurement.fixed_s for measurement in measurements)
    samples = sum(measurement.samples for measurement in measurements)
    if not samples:
        return SAMPLE_S_MAX
    return min(SAMPLE_S_MAX, max(SAMPLE_S_MIN, (seconds - fixed) / samples))


def alternating(keys: Sequence[T], rounds: int) -> list[T]:
    """`keys` in their order and back, `rounds` times: A B, B A, A B …

    A drift of the machine that is steady over two rounds hits all alike.
    """
    return [key for turn in range(rounds) for key in (keys if turn % 2 == 0 else keys[::-1])]


def settle() -> None:
    """Writes back what earlier samples left dirty: it would be flushed into the next one's time.

    A peer that never flushes leaves its last half second to whoever calls fdatasync next.
    """
    os.sync()
