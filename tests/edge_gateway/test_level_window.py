"""Levels above disk for an association with several operations open: each waits for itself."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_gateway import status
from edge_gateway.progress import Progress
from edge_gateway.progress_rows import DeliveryState
from edge_gateway.spool import Ending
from load.hostile.raw_peer import ABORT, RawPeer, pdu
from tests.edge_gateway.association.windowed_peer import answers, associate, request
from tests.edge_gateway.running_gateway import RunningGateway, eventually, running_gateway
from tests.edge_gateway.test_level_desk import NOW, Desk, add, desk_at

LATE = status.LEVEL_NOT_REACHED.value
LONG_S = 90.0


@dataclass
class Waiting:
    """A gateway that answers when the archive has an object, a peer with a window of four, and
    what tells the gateway of the archive."""

    gateway: RunningGateway
    peer: RawPeer
    desk: Desk
    ledger: Progress

    def send(self, *numbers: int) -> None:
        self.peer.send(b"".join(map(request, numbers)))

    def archive(self, number: int) -> None:
        """Custody says that what was sent as `number` is archived; returns once that is heard."""
        (delivery,) = (
            entry
            for entry, _ in self.gateway.deliveries()
            if entry.sop_instance_uid.endswith(f".{number}")
        )
        add(self.ledger, delivery.delivery_id, delivery.content_sha256)
        self.ledger.resolve(delivery.delivery_id, DeliveryState.ARCHIVED, NOW, NOW)
        eventually(self._hears_an_answer, LONG_S)

    def _hears_an_answer(self) -> bool:
        self.desk.desk.step()
        return bool(select.select([self.peer.socket], [], [], 0)[0])


@contextmanager
def waiting_peer(directory: Path, answer_within_ms: int = 600_000) -> Iterator[Waiting]:
    rule = {
        "calling_ae_title": "*",
        "network": "127.0.0.0/8",
        "level": "archive",
        "answer_within_ms": answer_within_ms,
    }
    ledger = Progress(directory / "progress.sqlite", "gateway-1")
    spool = directory / "spool"
    with (
        running_gateway(spool, admit=(rule,)) as gateway,
        desk_at(spool, ledger) as desk,
        RawPeer(gateway.port, LONG_S) as peer,
    ):
        associate(peer, 4)
        yield Waiting(gateway, peer, desk, ledger)
    ledger.close()


def test_each_operation_is_answered_when_its_own_object_is_archived(tmp_path: Path) -> None:
    with waiting_peer(tmp_path) as waiting:
        waiting.send(1, 2, 3)
        waiting.desk.take_questions(3)
        for number in (3, 1, 2):
            waiting.archive(number)
            assert answers(waiting.peer, 1) == [(number, 0)]


def test_late_ones_are_a700_by_themselves_and_kept(tmp_path: Path) -> None:
    with waiting_peer(tmp_path, answer_within_ms=1_500) as waiting:
        waiting.send(1, 2)
        assert sorted(answers(waiting.peer, 2)) == [(1, LATE), (2, LATE)]
        assert len(waiting.gateway.deliveries()) == 2


def test_an_abort_ends_the_wait_for_a_level_and_keeps_the_objects(tmp_path: Path) -> None:
    with waiting_peer(tmp_path) as waiting:
        waiting.send(1, 2)
        waiting.desk.take_questions(2)
        waiting.peer.send(pdu(ABORT, bytes(4)))
        eventually(lambda: len(waiting.gateway.closed()) == 1, LONG_S)
        (closed,) = waiting.gateway.closed()
        assert closed.ending == Ending.ABORTED
        # Nobody was told that they are archived, and they are here all the same.
        assert closed.status_totals == ((LATE, 2),)
        assert len(waiting.gateway.deliveries()) == 2


def test_a_stop_answers_every_wait(tmp_path: Path) -> None:
    with waiting_peer(tmp_path) as waiting:
        waiting.send(1, 2)
        waiting.desk.take_questions(2)
        waiting.gateway.receiver.stop()
        assert sorted(answers(waiting.peer, 2)) == [(1, LATE), (2, LATE)]
        assert waiting.peer.read_pdu()[0] == ABORT
