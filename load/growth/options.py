"""What `hilum load growth` is asked for.

Invariant: validated once, here; every bound of a run is one of these values or a named limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from contracts.failures import FatalError

ROWS_FULL, ROWS_QUICK = 10_000_000, 200_000
ROWS_MIN, ROWS_LIMIT = 1_000, 100_000_000
SEED_LIMIT = 10**8
# A decade between sizes; half of one where there would be too few of them for a slope.
SIZES_MIN, SIZE_ROWS_MIN = 4, 10_000
EVENTS_FULL, EVENTS_QUICK = 4_000, 800


class Axis(StrEnum):
    """What grows."""

    ROWS = "rows"
    SITES = "sites"
    PARTITIONS = "partitions"
    CONSUMERS = "consumers"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured at each size. A probe is a batch of `probe_studies` CT series.

    The first round warms what a size does not change, and is not counted.
    """

    rounds: int = 7
    warm_rounds: int = 1
    probe_studies: int = 8
    probe_instances: int = 125
    large_studies: int = 3
    asked: int = 20
    probes_weighed: int = 5


@dataclass(frozen=True, slots=True)
class GrowthOptions:
    """`directory` keeps the filled index for a later run; None: a temporary one, taken away.

    `events` is how many instances each point of the axes sites, partitions and consumers drains.
    Raises FatalError when a value is out of its bounds.
    """

    seed: int = 1
    rows_max: int = ROWS_FULL
    axes: tuple[Axis, ...] = tuple(Axis)
    directory: Path | None = None
    events: int = EVENTS_FULL
    is_quick: bool = False
    effort: Effort = Effort()
    # Rows of the indexes that are filled and compared; empty: tenths of rows_max.
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _within("rows_max", self.rows_max, ROWS_MIN, ROWS_LIMIT)
        _within("seed", self.seed, 0, SEED_LIMIT - 1)
        _within("events", self.events, 100, 1_000_000)
        if not self.axes:
            raise FatalError("no axis is chosen", f"name one of {', '.join(Axis)}")

    def sizes_asked(self) -> tuple[int, ...]:
        """The sizes, ascending, the last of them `rows_max`."""
        chosen = self.sizes or _downwards(self.rows_max)
        return (*sorted({rows for rows in chosen if 0 < rows < self.rows_max}), self.rows_max)


def quick(seed: int = 1, directory: Path | None = None) -> GrowthOptions:
    """A run of a few minutes that shows the shape of every curve."""
    return GrowthOptions(seed, ROWS_QUICK, directory=directory, events=EVENTS_QUICK, is_quick=True)


def _downwards(rows_max: int) -> tuple[int, ...]:
    for factor in (10.0, math.sqrt(10.0)):
        steps = int(math.log(max(rows_max / SIZE_ROWS_MIN, 1.0), factor) + 1e-9)
        sizes = tuple(round(rows_max / factor**step) for step in range(steps + 1))
        if len(sizes) >= SIZES_MIN:
            return sizes
    return sizes


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise FatalError(f"{name} is {value:,}", f"give {low:,} to {high:,}")
