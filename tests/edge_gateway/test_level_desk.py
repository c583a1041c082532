"""The two ends of a level's question: a real ledger, a real socket, one answer a delivery."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_gateway.centre import too_few_copies
from edge_gateway.confirmation import Confirmations
from edge_gateway.forward_health import ForwardHealth
from edge_gateway.level_desk import LevelDesk
from edge_gateway.levels import SOCKET_NAME, Level, Question, connect
from edge_gateway.progress import Progress
from edge_gateway.progress_rows import DeliveryState, NewDelivery
from edge_gateway.spool import RecordLocation
from infra.clock import SystemClock
from infra.cluster_view import TopicCopies
from tests.edge_gateway.running_gateway import DEADLINE_S, eventually, open_descriptors

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
SHA256 = "a" * 64


class Copies:
    """A cluster whose topics keep so many copies."""

    def __init__(self, *copies: TopicCopies) -> None:
        self._copies = dict(zip(("payload", "received"), copies, strict=True))

    def copies(self, topic: str) -> TopicCopies:
        return self._copies[topic]


class Waiting:
    """One association's thread in a question."""

    def __init__(self, confirmations: Confirmations, question: Question) -> None:
        self.is_reached: bool | None = None
        self._thread = threading.Thread(target=self._wait, args=(confirmations, question))
        self._thread.start()

    def _wait(self, confirmations: Confirmations, question: Question) -> None:
        self.is_reached = confirmations.is_reached(question)

    def end(self) -> bool | None:
        self._thread.join(DEADLINE_S)
        return self.is_reached


class Desk:
    """A forwarder's share of it: `turn` is one round."""

    def __init__(self, directory: Path, progress: Progress) -> None:
        self.health = ForwardHealth()
        self.desk = LevelDesk(progress.connection, self.health, SystemClock())
        self.desk.open(directory)

    def turn_until(self, waiting: Waiting) -> None:
        def is_over() -> bool:
            self.desk.step()
            return waiting.is_reached is not None

        eventually(is_over)

    def take_questions(self, count: int) -> None:
        def has_them() -> bool:
            self.desk.step()
            return len(self.desk._open) >= count

        eventually(has_them)


@contextmanager
def desk_at(directory: Path, progress: Progress) -> Iterator[Desk]:
    desk = Desk(directory, progress)
    try:
        yield desk
    finally:
        desk.desk.close()


@pytest.fixture
def progress(tmp_path: Path) -> Iterator[Progress]:
    ledger = Progress(tmp_path / "progress.sqlite", "gateway-1")
    yield ledger
    ledger.close()


@pytest.fixture
def confirmations(tmp_path: Path) -> Iterator[Confirmations]:
    found = Confirmations(tmp_path)
    yield found
    found.stop()


def add(progress: Progress, delivery_id: str, content_sha256: str = SHA256) -> None:
    progress.add(
        NewDelivery(
            delivery_id=delivery_id,
            association_id="association-1",
            location=RecordLocation(1, 1, 4096, 1),
            facts=None,
            sop_class_uid="1.2.3",
            sop_instance_uid="1.2.3.1",
            content_sha256=content_sha256,
            size_bytes=100,
            received_at=NOW,
        )
    )


def question(delivery_id: str, level: Level, within_ms: int = 600_000) -> Question:
    return Question(delivery_id, SHA256, level, within_ms)


def test_kafka_is_reached_once_published_and_archive_once_custody_says_so(
    tmp_path: Path, progress: Progress, confirmations: Confirmations
) -> None:
    with desk_at(tmp_path, progress) as desk:
        desk.desk.note_copies("")
        bus = Waiting(confirmations, question("d1", Level.KAFKA))
        archive = Waiting(confirmations, question("d2", Level.ARCHIVE))
        desk.take_questions(2)
        for delivery_id in ("d1", "d2"):
            add(progress, delivery_id)
        desk.desk.step()
        assert bus.is_reached is None
        progress.publish([("d1", NOW), ("d2", NOW)], "log")
        desk.turn_until(bus)
        assert bus.end() is True and archive.is_reached is None
        progress.resolve("d2", DeliveryState.QUARANTINED, NOW, NOW)
        desk.turn_until(archive)
        assert archive.end() is True


def test_kafka_with_one_copy_is_never_reached_and_archive_still_is(
    tmp_path: Path, progress: Progress, confirmations: Confirmations
) -> None:
    with desk_at(tmp_path, progress) as desk:
        desk.desk.note_copies("payload has 1 replica(s), 2 are needed")
        add(progress, "d1")
        progress.publish([("d1", NOW)], "log")
        progress.resolve("d1", DeliveryState.ARCHIVED, NOW, NOW)
        bus = Waiting(confirmations, question("d1", Level.KAFKA, 300))
        desk.turn_until(bus)
        assert bus.end() is False
        archive = Waiting(confirmations, question("d1", Level.ARCHIVE))
        desk.turn_until(archive)
        assert archive.end() is True
        assert "1 replica(s)" in desk.health.readiness().reason


def test_more_questions_than_the_socket_holds_are_all_answered(
    tmp_path: Path, progress: Progress, confirmations: Confirmations
) -> None:
    """A forward process that is busy for a moment, and associations with wide windows."""
    deliveries = [f"d{number}" for number in range(1_500)]
    for delivery_id in deliveries:
        add(progress, delivery_id)
        progress.resolve(delivery_id, DeliveryState.ARCHIVED, NOW, NOW)
    with desk_at(tmp_path, progress) as desk:
        first = Waiting(confirmations, question("d0", Level.ARCHIVE))
        desk.turn_until(first)
        waits = [
            confirmations.ask(question(delivery_id, Level.ARCHIVE, 90_000), lambda: None)
            for delivery_id in deliveries[1:]
        ]
        assert confirmations._unasked, "the socket held them all: ask more"

        def are_over() -> bool:
            desk.desk.step()
            return all(wait.has_ended for wait in waits)

        eventually(are_over, 60)
    assert all(confirmations.settle(wait) for wait in waits)


def test_who_waits_asks_the_next_forwarder_again(
    tmp_path: Path, progress: Progress, confirmations: Confirmations
) -> None:
    waiting = Waiting(confirmations, question("d1", Level.ARCHIVE))
    with desk_at(tmp_path, progress) as desk:
        desk.take_questions(1)
    add(progress, "d1")
    progress.resolve("d1", DeliveryState.ARCHIVED, NOW, NOW)
    with desk_at(tmp_path, progress) as desk:
        desk.turn_until(waiting)
    assert waiting.end() is True


def test_other_bytes_are_not_confirmed(
    tmp_path: Path, progress: Progress, confirmations: Confirmations
) -> None:
    with desk_at(tmp_path, progress) as desk:
        add(progress, "d1")
        progress.resolve("d1", DeliveryState.ARCHIVED, NOW, NOW)
        waiting = Waiting(confirmations, Question("d1", "b" * 64, Level.ARCHIVE, 300))
        desk.turn_until(waiting)
        assert waiting.end() is False


@pytest.mark.parametrize("message", [b"what?", b"d1 sha archive", b"d1 sha paper 5", b"\xff" * 99])
def test_what_is_no_question_ends_its_connection_and_nothing_else(
    tmp_path: Path, progress: Progress, message: bytes
) -> None:
    with desk_at(tmp_path, progress) as desk, connect(tmp_path) as stranger:
        before = open_descriptors()
        stranger.send(message)
        eventually(desk.desk.step)
        eventually(lambda: not desk.desk.step())
        assert stranger.recv(10) == b""
        assert open_descriptors() <= before
        assert desk.desk._open == {}


def test_the_socket_of_a_long_path_is_the_owners_alone(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    ledger = Progress(deep / "progress.sqlite", "gateway-1")
    with desk_at(deep, ledger), connect(deep):
        assert (deep / SOCKET_NAME).stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConnectionRefusedError):
        connect(deep)
    with desk_at(deep, ledger), connect(deep):
        pass  # what a killed process left is in nobody's way
    ledger.close()


def test_two_copies_of_both_topics_carry_level_kafka() -> None:
    topics, safe = ("payload", "received"), TopicCopies(3, 2)
    assert too_few_copies(Copies(safe, safe), topics) == ""
    assert "min.insync.replicas 1" in too_few_copies(Copies(safe, TopicCopies(3, 1)), topics)
    assert "1 replica(s)" in too_few_copies(Copies(TopicCopies(1, 2), safe), topics)
