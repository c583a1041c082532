"""The runner's promises, on a real broker: what is written, refused, retried and committed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from consumers.spec import BatchLimits, Record, Rejection
from contracts.codec import encode
from contracts.failures import FatalError, PoisonError, Reason, RetryableError
from infra.seams import OutgoingRecord
from infra.settings import Settings
from tests.consumers.bus import Bus, bus_of, eventually, header
from tests.consumers.recording import (
    INPUT,
    RecordingWriter,
    number_of,
    publish_numbers,
    request,
    running,
    with_publisher,
)

GROUP = "recording"
# Longer than any batch here needs to become full.
NEVER_MS = 100_000


@pytest.fixture
def bus(engine_settings: Settings) -> Iterator[Bus]:
    with bus_of(engine_settings.kafka) as ready:
        yield ready


def committed(bus: Bus) -> bool:
    """Whether everything is committed."""
    return bus.lag(GROUP, [INPUT]) == 0


def test_all_is_written_once_and_committed(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    publish_numbers(bus, range(500))
    writer = RecordingWriter()
    with running(engine_settings, tmp_path, writer) as consumer:
        eventually(lambda: committed(bus), "all committed")
        publish_numbers(bus, range(500, 520))
        eventually(lambda: len(writer.written) >= 520 and committed(bus), "the later ones")
        consumer.wait_ready()
    assert sorted(writer.written) == list(range(520))
    assert writer.is_closed and writer.ticks > 0
    again = RecordingWriter()
    with running(engine_settings, tmp_path, again) as consumer:
        consumer.wait_ready()
        publish_numbers(bus, [520])
        eventually(lambda: again.written != [], "only what is new")
    assert again.written == [520]


def test_records_are_gathered_up_to_the_limits(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    publish_numbers(bus, range(300))
    # No batch is ended by its age here, however slowly records come.
    by_bytes = BatchLimits(records_max=200, bytes_max=30_000, age_ms_max=NEVER_MS)
    writer = RecordingWriter()
    with running(engine_settings, tmp_path, writer, limits=by_bytes):
        eventually(lambda: committed(bus), "all committed")
    # 1,000 bytes each: 30 fit, and the 31st was sought back, not lost and not out of order
    assert [len(batch) for batch in writer.batches] == [30] * 10
    assert sorted(writer.written) == list(range(300))
    by_partition: dict[int, list[int]] = {}
    for batch in writer.batches:
        for record in batch:
            by_partition.setdefault(record.partition, []).append(record.offset)
    assert all(offsets == list(range(len(offsets))) for offsets in by_partition.values())


def test_a_record_larger_than_a_batch_is_a_batch_alone(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    publish_numbers(bus, range(5))
    writer = RecordingWriter()
    tiny = BatchLimits(records_max=100, bytes_max=10, age_ms_max=NEVER_MS)
    with running(engine_settings, tmp_path, writer, limits=tiny):
        eventually(lambda: committed(bus), "all committed")
    assert [len(batch) for batch in writer.batches] == [1] * 5


def test_what_does_not_decode_is_a_dead_letter_byte_for_byte(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    good = [request(n) for n in range(20)]
    broken = {
        Reason.NOT_CONFLUENT: b"\x01no avro",
        Reason.UNKNOWN_SCHEMA: b"\x00\x7f\xff\xff\xff!",
        Reason.MALFORMED_AVRO: encode(good[0])[:-3],
    }
    records = [bus.event_record(e, b"k", encode(e), str(n)) for n, e in enumerate(good)]
    for number, value in enumerate(broken.values()):
        records.insert(5 * number, bus.event_record(good[0], b"k%d" % number, value, "poison"))
    bus.publish(records)
    writer = RecordingWriter()
    with running(engine_settings, tmp_path, writer):
        eventually(lambda: committed(bus), "all committed")
    letters = {header(letter, "hilum-reason"): letter for letter in bus.dead_letters(INPUT)}
    assert set(letters) == {reason.value for reason in broken}
    for number, (reason, value) in enumerate(broken.items()):
        letter = letters[reason.value]
        assert (letter.key, letter.value) == (b"k%d" % number, value)
        original = [pair for pair in letter.headers if not pair[0].startswith("hilum-")]
        sent = next(record for record in records if record.value == value)
        assert original == list(sent.headers)
        assert header(letter, "hilum-consumer") == GROUP
        assert header(letter, "hilum-topic") == INPUT.name
        assert int(header(letter, "hilum-offset")) >= 0
        assert header(letter, "hilum-first-seen").endswith("Z")
    assert sorted(writer.written) == list(range(20))


def test_a_poison_record_is_found_by_halving_and_the_others_are_written(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    def refuse_13(batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        if any(number_of(record) == 13 for record in batch):
            raise PoisonError(Reason.REFUSED_BY_SINK, "code 53")
        return ()

    publish_numbers(bus, range(50))
    writer = RecordingWriter(refuse_13)
    with running(engine_settings, tmp_path, writer):
        eventually(lambda: committed(bus), "all committed")
    assert set(writer.written) == set(range(50)) - {13}
    (letter,) = bus.dead_letters(INPUT)
    assert letter.value == encode(request(13))
    assert header(letter, "hilum-reason") == "refused_by_sink"
    assert header(letter, "hilum-detail") == "code 53"


class GatedPublisher:
    """Takes no dead letters while the gate is shut, as a broker that does not answer."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.gate = threading.Event()
        self.refused = 0

    def publish_all(self, records: Sequence[OutgoingRecord], timeout_s: float) -> None:
        if not self.gate.is_set():
            self.refused += 1
            raise RetryableError("publishing dead letters: the gate is shut")
        self._inner.publish_all(records, timeout_s)

    def close(self) -> None:
        self._inner.close()


def test_commit_waits_for_dead_letter_ack(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    made: list[GatedPublisher] = []

    def gated(inner: Any) -> GatedPublisher:
        made.append(GatedPublisher(inner))
        return made[0]

    bus.publish([bus.event_record(request(0), b"k", b"poison", "poison")])
    publish_numbers(bus, range(10))
    writer = RecordingWriter()
    # All in one batch: another one, without the poison, would be committed at once.
    limits = BatchLimits(records_max=11, bytes_max=1_000_000, age_ms_max=NEVER_MS)
    with running(
        engine_settings, tmp_path, writer, limits=limits, change_engines=with_publisher(gated)
    ) as consumer:
        eventually(lambda: bool(made) and made[0].refused >= 3, "several attempts")
        assert bus.lag(GROUP, [INPUT]) == 11
        assert not consumer.runner.readiness.is_ready
        assert "gate is shut" in consumer.runner.readiness.reason
        made[0].gate.set()
        eventually(lambda: committed(bus), "all committed")
    assert sorted(writer.written) == list(range(10))  # written once: only the ack was missing
    assert len(bus.dead_letters(INPUT)) == 1


def test_a_retryable_failure_brings_the_same_batch_again_and_nothing_else(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    healed = threading.Event()
    attempts: list[Sequence[Record[Any]]] = []

    def fail_until_healed(batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        if not healed.is_set():
            attempts.append(batch)
            raise RetryableError("inserting 50 rows: time-out")
        return ()

    publish_numbers(bus, range(200))
    writer = RecordingWriter(fail_until_healed)
    with running(engine_settings, tmp_path, writer) as consumer:
        eventually(lambda: len(attempts) >= 3, "attempts")
        assert bus.lag(GROUP, [INPUT]) == 200
        healed.set()
        eventually(lambda: committed(bus), "all committed")
        consumer.wait_ready()
    first = writer.batches[: len(attempts) + 1]
    assert all(batch == first[0] for batch in first)
    assert sorted(writer.written) == list(range(200))


def test_a_second_member_gets_its_share_during_back_off_and_nothing_is_lost(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    healed = threading.Event()

    def fail_until_healed(batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        if not healed.is_set():
            raise RetryableError("inserting: the sink is down")
        return ()

    publish_numbers(bus, range(400))
    first, second = RecordingWriter(fail_until_healed), RecordingWriter()
    with running(engine_settings, tmp_path / "1", first):
        eventually(lambda: len(first.batches) >= 2, "a back-off")
        with running(engine_settings, tmp_path / "2", second):
            eventually(lambda: len(second.written) >= 100, "a share for the second member")
            assert first.written == []
            healed.set()
            eventually(lambda: committed(bus), "all committed")
    counts = Counter(first.written + second.written)
    assert set(counts) == set(range(400)) and max(counts.values()) == 1


def test_members_that_come_and_go_lose_nothing(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    def slowly(batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        time.sleep(0.05)
        return ()

    publish_numbers(bus, range(1_500))
    writers = [RecordingWriter(slowly) for _ in range(4)]
    with running(engine_settings, tmp_path / "0", writers[0]):
        for number in (1, 2, 3):
            with running(engine_settings, tmp_path / str(number), writers[number]) as member:
                member.wait_ready()
                base = 1_500 + 100 * number
                publish_numbers(bus, range(base, base + 100))
        eventually(lambda: committed(bus), "all committed")
    seen = {number for writer in writers for number in writer.written}
    assert seen == {*range(1_500), *range(1_600, 1_900)}


@pytest.mark.parametrize("good_before", [0, 60])
def test_too_many_refusals_stop_the_consumer_with_nothing_committed(
    bus: Bus, engine_settings: Settings, tmp_path: Path, good_before: int
) -> None:
    same_partition = b"k"
    good = [
        bus.event_record(request(n), same_partition, encode(request(n)), str(n))
        for n in range(good_before)
    ]
    poison = [bus.event_record(request(0), same_partition, b"poison", str(n)) for n in range(150)]
    bus.publish(good + poison)
    one_batch = BatchLimits(good_before + 150, bytes_max=10_000_000, age_ms_max=NEVER_MS)
    writer = RecordingWriter()
    with running(engine_settings, tmp_path, writer, limits=one_batch) as consumer:
        failure = consumer.wait_failed()
        assert "stopped" in consumer.runner.readiness.reason
    assert isinstance(failure, FatalError) and "100 in a row" in str(failure)
    assert bus.lag(GROUP, [INPUT]) == good_before + 150
    assert bus.dead_letters(INPUT) == []


def test_an_unknown_failure_commits_nothing(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    def break_down(batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        raise ZeroDivisionError

    publish_numbers(bus, range(5))
    with running(engine_settings, tmp_path, RecordingWriter(break_down)) as consumer:
        assert isinstance(consumer.wait_failed(), ZeroDivisionError)
    assert bus.lag(GROUP, [INPUT]) == 5
