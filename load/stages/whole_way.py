"""Sends to a stack and follows every acknowledged instance until it is everywhere.

Invariant: the run ends when each acknowledged instance has come through every asked stage, or at
its deadline; what did not come through is listed by name. What was used is counted from just
before the first byte until then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from functools import cached_property

from contracts.topics import PACK_ARCHIVED, PACK_REPLICATED, RECEIVED
from load.progress import Progress
from load.report.model import Failure
from load.senders import LeanOptions, Outcome, Planned, SendRun, Target
from load.senders.lean import send_lean
from load.stages.completion import Completion
from load.stages.events import (
    Follower,
    Pack,
    Place,
    place_of,
    received_of,
    records_between,
    topic_ends,
)
from load.stages.lag import Waiting, backlogs, consumer_lags
from load.stages.probes import look
from load.stages.resources import ResourceUse, forget_peaks, used_between
from load.stages.running import RunningStack
from load.stages.timeline import Stage, Timeline, build_timeline, failed_stages, first_places

EVERYWHERE = (Stage.PUBLISHED, Stage.ARCHIVED, Stage.INDEXED, Stage.REPLICATED)
# Sends that run at once; each has sender processes of its own.
LANES_MAX = 64
_EXAMPLES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Lane:
    """One sender: whom it calls as whom, what it sends, how."""

    target: Target
    planned: Sequence[Planned]
    options: LeanOptions


@dataclass(frozen=True)
class StageRun:
    """A run as measured. `packs` are those of this run, `until` the stages that were waited for.

    `seconds`: from the first byte until everything was everywhere, or the deadline.
    """

    sends: tuple[SendRun, ...]
    timeline: Timeline
    packs: tuple[Pack, ...]
    lags: tuple[Waiting, ...]
    resources: ResourceUse
    until: tuple[Stage, ...]
    seconds: float

    @property
    def acknowledged(self) -> int:
        """Instances that a gateway answered for."""
        return sum(send.acknowledged for send in self.sends)

    @property
    def bytes_acknowledged(self) -> int:
        """Bytes of their data sets."""
        return sum(send.bytes_acknowledged for send in self.sends)

    @cached_property
    def backlogs(self) -> tuple[Waiting, ...]:
        """Instances acknowledged and not yet at a stage, over time."""
        return backlogs(self.timeline)

    def rate(self, stage: Stage) -> float:
        """Instances per second from the first byte until the last one reached `stage`."""
        return self.timeline.rate(stage)

    @cached_property
    def failures(self) -> tuple[Failure, ...]:
        """What was not acknowledged, not brought everywhere, or set aside: by name, counted."""
        sent = [failure for send in self.sends for failure in send.failures()]
        late = [
            Failure("the stack", f"not {stage.value} by the deadline", len(uids), _some(uids))
            for stage, uids in failed_stages(self.timeline, self.until).items()
        ]
        aside = [one.sop_instance_uid for one in self.timeline.instances if one.is_quarantined]
        if aside:
            late.append(Failure("the stack", "quarantined", len(aside), _some(aside)))
        return (*sent, *late)

    @property
    def is_complete(self) -> bool:
        """Whether everything that was planned is everywhere."""
        return not self.failures


def whole_way(
    stack: RunningStack,
    planned: Sequence[Planned],
    options: LeanOptions,
    deadline_s: float,
    *,
    gateway: str = "north",
    until: Sequence[Stage] = EVERYWHERE,
    progress: Progress | None = None,
) -> StageRun:
    """One sender to one gateway, followed; see `follow_lanes`."""
    lane = Lane(stack.target(gateway), planned, options)
    return follow_lanes(stack, (lane,), deadline_s, until=until, progress=progress)


def follow_lanes(
    stack: RunningStack,
    lanes: Sequence[Lane],
    deadline_s: float,
    *,
    until: Sequence[Stage] = EVERYWHERE,
    progress: Progress | None = None,
) -> StageRun:
    """Every lane at once; returns when all that was acknowledged is everywhere.

    `deadline_s` counts from the last answer. SOP Instance UIDs must be of this run alone. What a
    gateway answers never raises. Raises RetryableError, FatalError when the broker cannot be
    asked.
    """
    assert 0 < len(lanes) <= LANES_MAX, "a plan within its bounds"
    follower = Follower(stack.settings.kafka)
    try:
        # What others left dirty is not ours, and what we leave dirty is.
        os.sync()
        before = look(stack)
        forget_peaks(one.pid for one in before.processes.values())
        began = time.perf_counter()
        sends = _send_all(lanes, follower, progress)
        outcomes = [one for send in sends for one in send.outcomes]
        _follow(follower, Completion(stack.settings.kafka, outcomes, until), deadline_s, progress)
        seconds = time.perf_counter() - began
        os.sync()
        resources = used_between(before, look(stack))
        return _as_run(stack, follower, sends, outcomes, (tuple(until), seconds, resources))
    finally:
        follower.close()


def _send_all(
    lanes: Sequence[Lane], follower: Follower, progress: Progress | None
) -> tuple[SendRun, ...]:
    """All lanes at once, while the events of what is through already are taken."""
    if progress:
        progress.stage(
            "sending and following", sum(len(lane.planned) for lane in lanes), "archived"
        )
    with ThreadPoolExecutor(len(lanes), thread_name_prefix="lane") as pool:
        running: list[Future[SendRun]] = [
            pool.submit(send_lean, lane.target, lane.planned, lane.options) for lane in lanes
        ]
        while wait_for(running, timeout=0).not_done:
            _round(follower, progress)
        return tuple(one.result() for one in running)


def _follow(
    follower: Follower, completion: Completion, deadline_s: float, progress: Progress | None
) -> None:
    deadline = time.monotonic() + deadline_s
    while not completion.is_reached(follower) and time.monotonic() < deadline:
        _round(follower, progress)


def _round(follower: Follower, progress: Progress | None) -> None:
    known = len(follower.archived)
    follower.round()
    if progress:
        progress.advance(len(follower.archived) - known)


def _as_run(
    stack: RunningStack,
    follower: Follower,
    sends: tuple[SendRun, ...],
    outcomes: Sequence[Outcome],
    ended: tuple[tuple[Stage, ...], float, ResourceUse],
) -> StageRun:
    until, seconds, resources = ended
    received = _received(stack, follower)
    timeline = build_timeline(
        outcomes,
        first_places(received),
        follower.archived,
        follower.replicas,
        follower.commits,
    )
    uids = {one.sop_instance_uid for one in timeline.instances}
    places = {
        RECEIVED.name: [place for _, place in received],
        PACK_ARCHIVED.name: [pack.place for pack in follower.packs],
        PACK_REPLICATED.name: follower.replicated_places,
    }
    return StageRun(
        sends=sends,
        timeline=timeline,
        packs=tuple(pack for pack in follower.packs if not uids.isdisjoint(pack.sop_instance_uids)),
        lags=consumer_lags(places, follower.commits, timeline.began_at),
        resources=resources,
        until=until,
        seconds=seconds,
    )


def _received(stack: RunningStack, follower: Follower) -> list[tuple[str, Place]]:
    """The received events of the run: SOP Instance UID and place."""
    kafka, start = stack.settings.kafka, follower.start[RECEIVED.name]
    records = records_between(kafka, RECEIVED.name, start, topic_ends(kafka, RECEIVED.name))
    return [
        (event.content.sop_instance_uid, place_of(record))
        for record in records
        if (event := received_of(record)) is not None
    ]


def _some(uids: Sequence[str]) -> tuple[str, ...]:
    return tuple(uids[:_EXAMPLES_MAX])
