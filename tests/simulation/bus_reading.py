"""Reading the simulated bus without a group: a topic's tail, payload by offsets, cluster ids.

Invariant: each behaves as the reader of `infra` that it stands for (`test_bus_double`). Must not
move anything by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from contracts import codec, topics
from contracts.events import InstanceReceived, PayloadChunk
from contracts.failures import PoisonError
from infra.cluster_view import TopicCopies
from infra.seams import ConsumedRecord, OffsetGoneError, PayloadGoneError
from infra.settings import KafkaSettings
from infra.topic_tail import partitions_of
from tests.simulation.bus import SimulatedBus

POLL_RECORDS_MAX = 500


class SimulatedTail:
    """`infra.topic_tail.TopicTail`. A poll never waits: time passes by itself."""

    def __init__(
        self,
        bus: SimulatedBus,
        topic: str,
        partitions: Sequence[int] | None = None,
        start: Mapping[int, int] | None = None,
    ) -> None:
        self._bus = bus
        self._topic = topic
        self._wanted = partitions_of(topic) if partitions is None else tuple(partitions)
        self._positions = {number: bus.log(topic, number).start for number in self._wanted}
        self._positions.update(start or {})

    def poll(self, timeout_s: float) -> list[ConsumedRecord]:
        if self._bus.is_down:
            return []
        found: list[ConsumedRecord] = []
        for number in self._wanted:
            log, position = self._bus.log(self._topic, number), self._positions[number]
            if not log.start <= position <= log.end:
                raise OffsetGoneError(self._topic, {number: position})
            found += log.records[position - log.start :][: POLL_RECORDS_MAX - len(found)]
        for record in found:
            self._positions[record.partition] = record.offset + 1
        return found

    def position(self, partition: int) -> int:
        return self._positions[partition]

    def seek(self, partition: int, offset: int) -> None:
        self._positions[partition] = offset

    def seek_to_beginning(self, partition: int) -> None:
        self._positions[partition] = self._bus.log(self._topic, partition).start

    def beginning_offsets(self) -> dict[int, int]:
        self._bus.require_up("asking for the first offsets")
        return {number: self._bus.log(self._topic, number).start for number in self._wanted}

    def end_offsets(self) -> dict[int, int]:
        self._bus.require_up("asking for the last offsets")
        return {number: self._bus.log(self._topic, number).end for number in self._wanted}

    def close(self) -> None:
        """Nothing is held."""


class SimulatedView:
    """The questions of `infra.cluster_view.ClusterView` that a gateway asks."""

    def __init__(self, bus: SimulatedBus) -> None:
        self._bus = bus

    def cluster_id(self) -> str:
        self._bus.require_up("asking for the cluster id")
        return self._bus.cluster_id()

    def topic_id(self, topic: str) -> str | None:
        self._bus.require_up("asking for a topic's id")
        return self._bus.topic_id(topic) if topic in topics.BY_NAME else None

    def copies(self, topic: str) -> TopicCopies:
        self._bus.require_up("asking for copies")
        return TopicCopies(3, 2) if topic in topics.BY_NAME else TopicCopies(0, 0)

    def close(self) -> None:
        """Nothing is held."""


def tails_on(bus: SimulatedBus) -> Callable[..., SimulatedTail]:
    """`TopicTail` as the product makes it, on the simulated bus."""

    def make(
        kafka: KafkaSettings,
        topic: str,
        partitions: Sequence[int] | None = None,
        start: Mapping[int, int] | None = None,
    ) -> SimulatedTail:
        return SimulatedTail(bus, topic, partitions, start)

    return make


class SimulatedPayloadReader:
    """`infra.seams.PayloadReader`."""

    def __init__(self, bus: SimulatedBus) -> None:
        self._bus = bus

    def open(self, event: InstanceReceived) -> Iterator[bytes]:
        partition, offsets = event.payload_partition, event.payload_offsets
        if event.size_bytes == 0 and not offsets:
            return iter(())
        if partition is None or partition >= topics.PAYLOAD.partitions or not offsets:
            raise PayloadGoneError(f"delivery {event.delivery_id} names no payload of this topic")
        return self._chunks(event.delivery_id, partition, offsets)

    def _chunks(
        self, delivery_id: str, partition: int, offsets: tuple[int, ...]
    ) -> Iterator[bytes]:
        for index, offset in enumerate(offsets):
            self._bus.require_up("reading payload")
            where = f"{delivery_id} chunk {index} at {partition}@{offset}"
            record = self._bus.log(topics.PAYLOAD.name, partition).at(offset)
            if record is None:
                raise PayloadGoneError(f"{where}: out of the log's range")
            try:
                chunk = codec.decode(record.value or b"", PayloadChunk)
            except PoisonError as cause:
                raise PayloadGoneError(f"{where}: another record is there") from cause
            if (chunk.delivery_id, chunk.chunk_index, chunk.chunk_count) != (
                delivery_id,
                index,
                len(offsets),
            ):
                raise PayloadGoneError(f"{where}: another chunk is there")
            yield chunk.bytes

    def close(self) -> None:
        """Nothing is held."""
