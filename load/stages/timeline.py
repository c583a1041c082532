"""Each instance with the time it reached each stage, and what a run says of a stage as a whole.

Invariant: times come from events (the sender's own clock for sent and acknowledged, the broker's
append and commit times for the rest), never from a table; an instance that did not reach a stage
has None there and is counted. Both clocks are one where the local stack is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hdrh.histogram import HdrHistogram

from contracts.events import Area
from contracts.topics import PACK_ARCHIVED, RECEIVED
from load.senders import Outcome, latency_histogram
from load.stages.commits import CommitLog
from load.stages.events import Pack, Place

INDEX_GROUP = "metadata-index"


class Stage(StrEnum):
    """What happens to an instance, in this order.

    `indexed`: metadata-index has committed both the received event and the pack that holds it,
    which it does after its insert: header and place can be found. That is what the product's own
    view of deliveries calls indexed.
    """

    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    PUBLISHED = "published"
    ARCHIVED = "archived"
    INDEXED = "indexed"
    REPLICATED = "replicated"


STAGES = tuple(Stage)
# What an instance waits for before a stage can begin: the second site copies from the archive
# and does not wait for the index.
BEFORE: Mapping[Stage, Stage] = {
    Stage.ACKNOWLEDGED: Stage.SENT,
    Stage.PUBLISHED: Stage.ACKNOWLEDGED,
    Stage.ARCHIVED: Stage.PUBLISHED,
    Stage.INDEXED: Stage.ARCHIVED,
    Stage.REPLICATED: Stage.ARCHIVED,
}


@dataclass(frozen=True, slots=True)
class InstanceTimes:
    """When one acknowledged instance reached each stage, seconds since the epoch."""

    sop_instance_uid: str
    kind: str
    size_bytes: int
    sent_at: float
    acknowledged_at: float
    published_at: float | None
    archived_at: float | None
    indexed_at: float | None
    replicated_at: float | None
    is_quarantined: bool

    def at(self, stage: Stage) -> float | None:
        """When it reached `stage`; None if it has not."""
        at: float | None = getattr(self, f"{stage.value}_at")
        return at


@dataclass(frozen=True)
class Timeline:
    """The acknowledged instances of a run."""

    instances: tuple[InstanceTimes, ...]

    @property
    def began_at(self) -> float:
        """When the first instance was sent."""
        return min((one.sent_at for one in self.instances), default=0.0)

    def reached(self, stage: Stage) -> list[float]:
        """The times at which instances reached `stage`, in order."""
        return sorted(at for one in self.instances if (at := one.at(stage)) is not None)

    def missing(self, stage: Stage) -> list[str]:
        """SOP Instance UIDs of what was acknowledged and has not reached `stage`."""
        return [one.sop_instance_uid for one in self.instances if one.at(stage) is None]

    def seconds(self, stage: Stage) -> float:
        """From the first instance sent until the last one reached `stage`; 0 where none did."""
        reached = self.reached(stage)
        return max(reached[-1] - self.began_at, 1e-6) if reached else 0.0

    def rate(self, stage: Stage) -> float:
        """Instances per second that came through `stage`."""
        seconds = self.seconds(stage)
        return len(self.reached(stage)) / seconds if seconds else 0.0

    def megabytes_per_s(self, stage: Stage) -> float:
        """Megabytes (10^6) of data sets per second that came through `stage`."""
        seconds = self.seconds(stage)
        total = sum(one.size_bytes for one in self.instances if one.at(stage) is not None)
        return total / seconds / 1e6 if seconds else 0.0

    def latency(self, stage: Stage, since: Stage = Stage.ACKNOWLEDGED) -> HdrHistogram:
        """Microseconds from `since` to `stage`, of the instances that reached both.

        The forwarder may publish before the sender has read its response, and the broker's times
        are whole milliseconds: what would be negative counts as the histogram's lowest value.
        """
        return latency_histogram(
            round((end - begin) * 1e6)
            for one in self.instances
            if (end := one.at(stage)) is not None and (begin := one.at(since)) is not None
        )


def build_timeline(
    outcomes: Iterable[Outcome],
    received: Mapping[str, Place],
    archived: Mapping[str, Pack],
    replicas: Mapping[str, float],
    commits: CommitLog,
) -> Timeline:
    """The time line of every acknowledged outcome; the mappings are by SOP Instance UID."""
    return Timeline(
        tuple(
            _times(one, received, archived, replicas, commits)
            for one in outcomes
            if one.is_acknowledged
        )
    )


def first_places(places: Iterable[tuple[str, Place]]) -> dict[str, Place]:
    """By SOP Instance UID the place of its first received event (a delivery may be repeated)."""
    found: dict[str, Place] = {}
    for uid, place in places:
        if uid not in found or place.at < found[uid].at:
            found[uid] = place
    return found


def failed_stages(timeline: Timeline, until: Sequence[Stage]) -> dict[Stage, list[str]]:
    """What was acknowledged and did not come through, by stage; stages without any left out."""
    missing = {stage: timeline.missing(stage) for stage in until}
    return {stage: uids for stage, uids in missing.items() if uids}


def _times(
    outcome: Outcome,
    received: Mapping[str, Place],
    archived: Mapping[str, Pack],
    replicas: Mapping[str, float],
    commits: CommitLog,
) -> InstanceTimes:
    uid = outcome.sop_instance_uid
    assert outcome.answered_at is not None, "acknowledged"
    event, pack = received.get(uid), archived.get(uid)
    return InstanceTimes(
        sop_instance_uid=uid,
        kind=outcome.kind,
        size_bytes=outcome.size_bytes,
        sent_at=outcome.sent_at,
        acknowledged_at=outcome.answered_at,
        published_at=event.at if event else None,
        archived_at=pack.place.at if pack else None,
        indexed_at=_indexed_at(event, pack, commits),
        replicated_at=replicas.get(uid),
        is_quarantined=pack is not None and pack.area is Area.QUARANTINE,
    )


def _indexed_at(event: Place | None, pack: Pack | None, commits: CommitLog) -> float | None:
    if event is None or pack is None:
        return None
    times = [
        commits.done_at(INDEX_GROUP, topic, place.partition, place.offset)
        for topic, place in ((RECEIVED.name, event), (PACK_ARCHIVED.name, pack.place))
    ]
    known = [at for at in times if at is not None]
    return max(known) if len(known) == len(times) else None
