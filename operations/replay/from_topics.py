"""Fills an index from the event topics, from their beginning or from given offsets.

Invariant: it reads without a group and commits nothing; a topic whose beginning is gone is never
taken for the whole history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from consumers.metadata_index import SPEC
from consumers.spec import Record
from contracts import codec
from contracts.events import Event
from contracts.failures import FatalError, PoisonError
from contracts.topics import Topic
from infra.cluster_view import ClusterView
from infra.partitions import Partition
from infra.seams import ConsumedRecord, OffsetGoneError
from infra.settings import KafkaSettings
from infra.topic_tail import TopicTail
from operations.replay.filling import Filler
from operations.replay.shadow import Shadow

Save = Callable[[Mapping[Partition, int]], None]


def source_name(kafka: KafkaSettings) -> str:
    """The topics of this very cluster: offsets mean nothing in another one."""
    view = ClusterView(kafka)
    try:
        return f"topics of cluster {view.cluster_id()}"
    finally:
        view.close()


class FromTopics:
    """The topics that `metadata-index` reads, as a source of a shadow."""

    def __init__(self, kafka: KafkaSettings, shadow: Shadow) -> None:
        self._kafka = kafka
        self._shadow = shadow

    def catch_up(self, filler: Filler) -> tuple[str, ...]:
        """On return the shadow has all that was on the topics at the call; nothing is unreadable.

        One topic after the other: so each instance is composed once, when its pack is told.
        Raises FatalError (history is missing), RetryableError.
        """
        reached = self._shadow.positions()
        for topic, event_type in SPEC.inputs.items():
            start = {
                number: reached[_place(topic.name, number)]
                for number in range(topic.partitions)
                if _place(topic.name, number) in reached
            }
            reading = _Reading(self._kafka, topic, event_type, start)
            reading.run(filler, self._save)
        return ()

    def _save(self, offsets: Mapping[Partition, int]) -> None:
        self._shadow.save({_place(at.topic, at.number): o for at, o in offsets.items()})


def read_on(kafka: KafkaSettings, committed: Mapping[Partition, int], filler: Filler) -> None:
    """Writes what a group that committed these offsets has not read yet."""
    for topic, event_type in SPEC.inputs.items():
        start = {at.number: offset for at, offset in committed.items() if at.topic == topic.name}
        _Reading(kafka, topic, event_type, start).run(filler, lambda offsets: None)


class _Reading:
    """One topic from `start` to its end as of now."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: Topic,
        event_type: type[Event],
        start: Mapping[int, int],
    ) -> None:
        self._topic = topic
        self._event_type = event_type
        self._start = dict(start)
        self._tail = TopicTail(kafka, topic.name, start=start)
        self._next: dict[Partition, int] = {}

    def run(self, filler: Filler, save: Save) -> None:
        try:
            ends = self._tail.end_offsets()
            positions = self._first(self._tail.beginning_offsets())
            filler.tally.total += sum(max(0, ends[n] - at) for n, at in positions.items())
            for polled in self._tail.read_until(ends):
                for record in polled:
                    self._take(record, filler)
                if filler.is_full:
                    self._flush(filler, save)
            self._flush(filler, save)
            filler.finish()
        except OffsetGoneError as gone:
            raise FatalError(
                f"{gone}: the topic was made anew",
                "begin anew with `hilum replay --into shadow --restart`",
            ) from gone
        finally:
            self._tail.close()

    def _first(self, begins: Mapping[int, int]) -> dict[int, int]:
        """Where reading begins, which must be in the log, and without positions its very start."""
        for number, begin in begins.items():
            if begin > self._start.get(number, 0):
                raise FatalError(
                    f"{self._topic.name}/{number} begins at {begin}: its history is not whole",
                    "rebuild from the archive: `hilum replay --into shadow --from-bucket`",
                )
        return {number: self._start.get(number, 0) for number in begins}

    def _take(self, raw: ConsumedRecord, filler: Filler) -> None:
        self._next[Partition(raw.topic, raw.partition)] = raw.offset + 1
        try:
            event = codec.decode(raw.value or b"", self._event_type)
        except PoisonError:
            filler.tally.refused += 1
            return
        filler.add(Record(event, raw.topic, raw.partition, raw.offset))

    def _flush(self, filler: Filler, save: Save) -> None:
        offsets, self._next = self._next, {}
        filler.flush(lambda: save(offsets) if offsets else None)


def _place(topic: str, number: int) -> str:
    return f"{topic}/{number}"
