"""The bus in memory behaves as Kafka does: one suite for both.

Invariant: every test runs on the double and on the real engine, and asks the same of both.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from contracts import topics
from contracts.failures import RetryableError
from infra.broker import KafkaPublisher, partition_for_key
from infra.clock import SystemClock
from infra.group_consumer import GroupConsumer
from infra.partitions import Partition
from infra.payload_reader import KafkaPayloadReader
from infra.seams import (
    ConsumedRecord,
    OffsetGoneError,
    OutgoingRecord,
    PayloadGoneError,
    PayloadReader,
    Publisher,
)
from infra.settings import KafkaSettings
from infra.topic_tail import TopicTail
from tests.infra.bus_records import ORIGIN, deliver, kafka
from tests.simulation.bus import SimulatedBus, SimulatedPublisher
from tests.simulation.bus_reading import SimulatedPayloadReader, SimulatedTail
from tests.simulation.clock import SimulatedClock
from tests.simulation.group import SimulatedGroup, SimulatedMember

__all__ = ["kafka"]

WITHIN_S = 60.0
INPUT = topics.GATEWAY_REQUEST
Tail = TopicTail | SimulatedTail
Member = GroupConsumer | SimulatedMember


@dataclass
class Pair:
    """One of the two: how it is published to, and how it is read."""

    publisher: Publisher
    tail: Callable[[str, int, dict[int, int]], Tail]
    member: Callable[[str], Member]
    payload: PayloadReader

    def put(self, topic: str, values: list[bytes], partition: int | None = None) -> list[int]:
        """The offsets of values on one key, acknowledged."""
        pending = [
            self.publisher.publish(OutgoingRecord(topic, b"key", value, (), partition))
            for value in values
        ]
        return [publication.result(WITHIN_S).offset for publication in pending]


@pytest.fixture(params=["simulated", "kafka"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param == "simulated":
        yield _simulated()
        return
    settings: KafkaSettings = request.getfixturevalue("kafka")
    members: list[GroupConsumer] = []

    def member(group: str) -> GroupConsumer:
        members.append(GroupConsumer(settings, group, [INPUT.name], 300_000))
        return members[-1]

    publisher = KafkaPublisher(settings, ORIGIN, SystemClock())
    payload = KafkaPayloadReader(settings)
    yield Pair(
        publisher,
        lambda topic, partition, start: TopicTail(settings, topic, (partition,), start),
        member,
        payload,
    )
    for each in members:
        each.close()
    publisher.close()
    payload.close()


def _simulated() -> Pair:
    bus = SimulatedBus(SimulatedClock())
    groups: dict[str, SimulatedGroup] = {}

    def member(group: str) -> SimulatedMember:
        known = groups.setdefault(group, SimulatedGroup(bus, group, [INPUT.name]))
        return SimulatedMember(known)

    return Pair(
        SimulatedPublisher(bus, ORIGIN),
        lambda topic, partition, start: SimulatedTail(bus, topic, (partition,), start),
        member,
        SimulatedPayloadReader(bus),
    )


def read(tail: Tail, count: int) -> list[ConsumedRecord]:
    found: list[ConsumedRecord] = []
    until = time.monotonic() + WITHIN_S
    while len(found) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} records"
        found += tail.poll(0.5)
    return found


def gather(member: Member, count: int) -> list[ConsumedRecord]:
    """Polls until so many records came; what an interruption drops comes again."""
    found: list[ConsumedRecord] = []
    until = time.monotonic() + WITHIN_S
    while len(found) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} records"
        found += member.poll(100, count - len(found))
        if member.take_interruption():
            found = []
    return found


def next_offsets(records: list[ConsumedRecord]) -> dict[Partition, int]:
    return {Partition(r.topic, r.partition): r.offset + 1 for r in records}


def test_an_acknowledged_record_is_where_it_was_said_to_be(pair: Pair) -> None:
    topic = topics.CUSTODY
    record = OutgoingRecord(topic.name, b"abc", b"value", (("name", b"x"),))
    place = pair.publisher.publish(record).result(WITHIN_S)
    assert place.partition == partition_for_key(b"abc", topic.partitions)
    (found,) = read(pair.tail(topic.name, place.partition, {place.partition: place.offset}), 1)
    assert (found.topic, found.offset, found.key, found.value) == (
        topic.name,
        place.offset,
        b"abc",
        b"value",
    )
    assert found.headers == (("name", b"x"),)


def test_records_of_one_key_keep_their_order_and_offsets_rise(pair: Pair) -> None:
    values = [str(number).encode() for number in range(50)]
    offsets = pair.put(topics.RECEIVED.name, values)
    assert offsets == list(range(offsets[0], offsets[0] + 50))
    partition = partition_for_key(b"key", topics.RECEIVED.partitions)
    found = read(pair.tail(topics.RECEIVED.name, partition, {partition: offsets[0]}), 50)
    assert [record.value for record in found] == values


def test_a_topic_that_is_missing_and_a_closed_publisher_are_retryable(pair: Pair) -> None:
    with pytest.raises(RetryableError):
        pair.publisher.publish(OutgoingRecord("imaging.nowhere.v1", b"key", b"x", ()))
    pair.publisher.close()
    with pytest.raises(RetryableError, match="closed"):
        pair.publisher.publish(OutgoingRecord(topics.RECEIVED.name, b"key", b"x", ()))


def test_a_tail_knows_its_bounds_and_goes_on_where_it_is_set(pair: Pair) -> None:
    partition = 7
    offsets = pair.put(topics.GATEWAY_STATE.name, [b"a", b"b", b"c"], partition)
    tail = pair.tail(topics.GATEWAY_STATE.name, partition, {partition: offsets[0]})
    assert [record.value for record in read(tail, 3)] == [b"a", b"b", b"c"]
    assert tail.position(partition) == offsets[2] + 1 == tail.end_offsets()[partition]
    tail.seek(partition, offsets[1])
    assert read(tail, 2)[0].value == b"b"
    tail.seek_to_beginning(partition)
    assert read(tail, 1)[0].offset == tail.beginning_offsets()[partition]
    tail.close()


def test_an_offset_that_is_not_there_is_told(pair: Pair) -> None:
    pair.put(topics.GATEWAY_STATE.name, [b"a"], 3)
    tail = pair.tail(topics.GATEWAY_STATE.name, 3, {3: 10_000})
    until = time.monotonic() + WITHIN_S
    with pytest.raises(OffsetGoneError) as gone:
        while time.monotonic() < until:
            assert tail.poll(0.5) == []
    assert gone.value.offsets == {3: 10_000}
    tail.close()


def test_payload_comes_back_or_is_said_to_be_gone(pair: Pair) -> None:
    size_bytes = topics.CHUNK_BYTES_MAX + 5
    event = deliver(pair.publisher, 1, size_bytes, 2)
    data = b"".join(pair.payload.open(event))
    assert hashlib.sha256(data).hexdigest() == event.content.content_sha256
    other = deliver(pair.publisher, 2, 100, 2)
    for offsets in ((event.payload_offsets or ())[:1], (999_999,)):
        wrong = replace(other, payload_offsets=offsets)
        with pytest.raises(PayloadGoneError):
            b"".join(pair.payload.open(wrong))


# -- the group


def test_a_member_goes_on_behind_what_was_committed(pair: Pair) -> None:
    member = pair.member("going-on")
    pair.put(INPUT.name, [b"1", b"2", b"3"], 1)
    base = [record.value for record in gather(member, 3)]
    assert base[-3:] == [b"1", b"2", b"3"]
    member.close()
    again = pair.member("going-on")
    records = gather(again, 2)  # nothing was committed
    again.commit(next_offsets(records[:1]))
    again.close()
    last = pair.member("going-on")
    assert gather(last, 1)[0].offset == records[0].offset + 1


def test_a_member_that_pauses_or_seeks_is_handed_what_it_asks_for(pair: Pair) -> None:
    member = pair.member("pausing")
    pair.put(INPUT.name, [b"1", b"2"], 2)
    first = gather(member, 1)[0]
    member.pause()
    assert member.poll(300, 10) == []
    member.seek({Partition(first.topic, first.partition): first.offset})
    member.resume()
    place = (first.partition, first.offset)
    until = time.monotonic() + WITHIN_S
    while (again := gather(member, 1)[0]) and (again.partition, again.offset) != place:
        assert time.monotonic() < until, "what was sought back did not come again"
    span = member.spans()[Partition(first.topic, first.partition)]
    assert span.position == first.offset + 1 and span.end >= span.position


def test_a_member_is_told_when_the_group_moves_on_and_what_it_had_comes_again(
    pair: Pair,
) -> None:
    pair.put(INPUT.name, [b"1", b"2", b"3"], 4)
    first = pair.member("generations")
    records = gather(first, 1)
    second = pair.member("generations")
    _poll_until_settled(first, second)
    shares = [set(member.spans()) for member in (first, second)]
    assert not shares[0] & shares[1] and len(shares[0] | shares[1]) == INPUT.partitions
    second.close()
    _poll_until_settled(first)
    assert gather(first, 1)[0].offset <= records[0].offset


def _poll_until_settled(*members: Member) -> None:
    """Until the first one was interrupted and all have joined; what they are handed is dropped."""
    until = time.monotonic() + WITHIN_S
    is_interrupted = False
    while not (is_interrupted and all(member.has_joined for member in members)):
        assert time.monotonic() < until, "the group did not settle"
        for member in members:
            member.seek(_first_offsets(member.poll(100, 1)))
        is_interrupted |= members[0].take_interruption()


def _first_offsets(records: list[ConsumedRecord]) -> dict[Partition, int]:
    return {Partition(r.topic, r.partition): r.offset for r in records[:1]}
