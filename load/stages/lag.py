"""What waited when: instances between two stages, records in front of a consumer group.

Invariant: computed from the times of events after the run, so nothing is asked of the broker
while it goes; a step is the state at its end. Records from before the run are not counted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from consumers.catalog import CATALOG
from load.stages.commits import CommitLog
from load.stages.events import Place
from load.stages.timeline import Stage, Timeline

STEP_S = 1.0
# A longer run is shown in longer steps: a plot has no more columns than that.
STEPS_MAX = 600
_BACKLOGS = (Stage.PUBLISHED, Stage.ARCHIVED, Stage.INDEXED, Stage.REPLICATED)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many waited at each time. `at_s`: seconds since the first instance was sent; `most`:
    the highest count at any moment, between the steps too."""

    name: str
    at_s: tuple[float, ...]
    count: tuple[int, ...]
    most: int


def backlogs(timeline: Timeline) -> tuple[Waiting, ...]:
    """Instances that were acknowledged and had not reached a stage, stage by stage."""
    came = timeline.reached(Stage.ACKNOWLEDGED)
    left = {stage: timeline.reached(stage) for stage in _BACKLOGS}
    steps = _steps(timeline.began_at, [came, *left.values()])
    return tuple(
        waiting(f"not {stage.value}", (came, went), timeline.began_at, steps)
        for stage, went in left.items()
    )


def consumer_lags(
    places: Mapping[str, Sequence[Place]], commits: CommitLog, began_at: float
) -> tuple[Waiting, ...]:
    """Records of the run that a group had not committed, by group and topic.

    `places` are the records of the run by topic; topics that are not in it are left out.
    """
    found: dict[str, tuple[list[float], list[float]]] = {}
    for spec in CATALOG:
        for topic in spec.inputs:
            records = places.get(topic.name)
            if not records:
                continue
            done = (
                commits.done_at(spec.name, topic.name, one.partition, one.offset) for one in records
            )
            found[f"{spec.name} ← {topic.name}"] = (
                sorted(one.at for one in records),
                sorted(at for at in done if at is not None),
            )
    steps = _steps(began_at, [times for pair in found.values() for times in pair])
    return tuple(waiting(name, pair, began_at, steps) for name, pair in found.items())


def waiting(
    name: str, came_and_left: tuple[Sequence[float], Sequence[float]], began_at: float,
    steps: Sequence[float],
) -> Waiting:  # fmt: skip
    """How many had come and not left, at each step; both sequences in order."""
    came, left = came_and_left
    counts = tuple(
        max(0, bisect_right(came, began_at + step) - bisect_right(left, began_at + step))
        for step in steps
    )
    return Waiting(name, tuple(steps), counts, _most(came, left))


def _most(came: Sequence[float], left: Sequence[float]) -> int:
    """The peak is at an arrival: only there the count goes up."""
    return max(0, *(number - bisect_right(left, at) for number, at in enumerate(came, 1)), 0)


def _steps(began_at: float, times: Iterable[Sequence[float]]) -> list[float]:
    last = max((one[-1] for one in times if one), default=began_at)
    seconds = max(0.0, last - began_at)
    step = STEP_S
    while seconds / step > STEPS_MAX:
        step *= 2
    return [index * step for index in range(int(seconds / step) + 2)]
