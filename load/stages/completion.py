"""Whether all that was acknowledged has come through the stages that are waited for.

Invariant: the received events are never read for this: what is archived was published, and a
group that committed the end of the received topic, as it stood once all was archived, has indexed
it. Must not decide any time: it says only that the following may end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.topics import PACK_ARCHIVED, RECEIVED
from infra.settings import KafkaSettings
from load.senders import Outcome
from load.stages.events import Follower, topic_ends
from load.stages.timeline import INDEX_GROUP, Stage


class Completion:
    """Of one run: `outcomes` are its own, `until` the stages that must be reached."""

    def __init__(
        self, kafka: KafkaSettings, outcomes: Sequence[Outcome], until: Sequence[Stage]
    ) -> None:
        self._kafka = kafka
        self._until = frozenset(until)
        self._unarchived = {one.sop_instance_uid for one in outcomes if one.is_acknowledged}
        self._unreplicated = set(self._unarchived)
        self._received_ends: Mapping[int, int] | None = None

    def is_reached(self, follower: Follower) -> bool:
        """Whether nothing more has to be waited for. Raises RetryableError, FatalError."""
        self._unarchived.difference_update(follower.archived)
        if self._unarchived:
            return False
        if Stage.REPLICATED in self._until:
            self._unreplicated.difference_update(follower.replicas)
            if self._unreplicated:
                return False
        return Stage.INDEXED not in self._until or self._is_indexed(follower)

    def _is_indexed(self, follower: Follower) -> bool:
        if self._received_ends is None:
            self._received_ends = topic_ends(self._kafka, RECEIVED.name)
        start = follower.start[RECEIVED.name]
        received = (
            (RECEIVED.name, partition, end - 1)
            for partition, end in self._received_ends.items()
            if end > start.get(partition, 0)
        )
        packs = (
            (PACK_ARCHIVED.name, pack.place.partition, pack.place.offset) for pack in follower.packs
        )
        return all(
            follower.commits.done_at(INDEX_GROUP, topic, partition, offset) is not None
            for places in (received, packs)
            for topic, partition, offset in places
        )
