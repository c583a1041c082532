"""A worker or the acceptor that is killed, and a spool whose worker is gone for good."""

from __future__ import annotations

import hashlib
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil

from edge_gateway.spool import Ending
from load.hostile.raw_peer import RawPeer, data_set, store_command
from tests.edge_gateway.association.raw_peer import good_store
from tests.edge_gateway.running_gateway import DEADLINE_S, eventually
from tests.edge_gateway.test_receive_process import ReceiveProcess
from tests.edge_gateway.workers.running_workers import (
    deliveries_of,
    endings_of,
    running_workers,
)
from tests.edge_gateway.workers.test_workers import ANY, associated


class Sender:
    """Stores on one association until it is told to end or the association is gone."""

    def __init__(self, port: int, number: int) -> None:
        self.number = number
        self.acknowledged: dict[str, str] = {}
        self.is_lost = False
        self._stop = threading.Event()
        self._peer = associated(port, f"S{number}")
        self._thread = threading.Thread(target=self._send, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_S)
        self._peer.socket.close()

    def _send(self) -> None:
        for count in range(1_000_000):
            if self._stop.is_set():
                return
            uid = f"1.2.{self.number}.{count}"
            data = data_set(uid.encode(), padding=2_000 + 50_000 * (count % 7 == 0))
            try:
                if self._peer.store(store_command(uid.encode()), data) != 0:
                    self.is_lost = True
                    return
            except OSError:
                self.is_lost = True
                return
            self.acknowledged[uid] = hashlib.sha256(data).hexdigest()


def found_in(directory: Path) -> set[tuple[str, str]]:
    return {
        (entry.sop_instance_uid, hashlib.sha256(body).hexdigest())
        for deliveries in deliveries_of(directory).values()
        for entry, body in deliveries
    }


def test_a_killed_worker_breaks_its_own_associations_and_loses_nothing(tmp_path: Path) -> None:
    rules = [ANY | {"associations_max": 4}]
    with running_workers(tmp_path, 2, admit=rules, associations_max=6) as gateway:
        # In turn: odd ones at worker 1, even ones at worker 2.
        senders = [Sender(gateway.port, number) for number in range(1, 7)]
        assert gateway.counts == {1: 3, 2: 3}
        for sender in senders:
            sender.start()
        eventually(lambda: all(len(sender.acknowledged) > 20 for sender in senders))
        gateway.kill(2)
        broken, others = senders[1::2], senders[0::2]
        eventually(lambda: all(sender.is_lost for sender in broken))
        eventually(lambda: gateway.associations == 3)
        before = {sender.number: len(sender.acknowledged) for sender in others}
        eventually(
            lambda: all(len(sender.acknowledged) > before[sender.number] + 20 for sender in others)
        )
        gateway.await_all()
        # Their places are free again, and the worker that came back gets them.
        with ExitStack() as open_peers:
            for number in range(7, 10):
                open_peers.enter_context(associated(gateway.port, f"S{number}"))
            assert gateway.counts == {1: 3, 2: 3}
        for sender in senders:
            sender.end()
        assert not any(sender.is_lost for sender in others)
        assert gateway.process.children[1].restarts == 1
    acknowledged = {pair for sender in senders for pair in sender.acknowledged.items()}
    print(f"{len(acknowledged)} acknowledged")
    assert not acknowledged - found_in(tmp_path)
    endings = [closed.ending for closed in endings_of(tmp_path)[2]]
    assert endings.count(Ending.GATEWAY_LOST) == 3
    assert Ending.GATEWAY_LOST not in [closed.ending for closed in endings_of(tmp_path)[1]]


def test_workers_end_with_a_killed_acceptor_and_the_next_one_recovers(tmp_path: Path) -> None:
    process = ReceiveProcess(tmp_path, workers=2)
    try:
        process.start()
        assert process.process is not None
        workers = psutil.Process(process.process.pid).children()
        assert len(workers) == 2
        senders = [Sender(process.port, number) for number in (1, 2)]
        for sender in senders:
            sender.start()
        eventually(lambda: all(len(sender.acknowledged) > 10 for sender in senders))
        process.signal(signal.SIGKILL)
        eventually(lambda: not any(is_running(worker) for worker in workers))
        for sender in senders:
            sender.end()
            assert sender.is_lost
        process.start()
        good_store(process.port)
        assert process.signal(signal.SIGTERM) == 0
    finally:
        process.end()
    acknowledged = {pair for sender in senders for pair in sender.acknowledged.items()}
    assert not acknowledged - found_in(process.spool)
    # A worker sees the acceptor's end a moment before the kernel ends it, and may say so itself.
    endings = [closed.ending for found in endings_of(process.spool).values() for closed in found]
    assert len(endings) == 3 and endings.count(Ending.RELEASED) == 1


def is_running(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def test_a_lower_count_closes_what_the_crash_of_a_worker_left(tmp_path: Path) -> None:
    """The next start has one worker, and nobody opens spool 2 to receive."""
    process = ReceiveProcess(tmp_path, workers=2)
    try:
        process.start()
        with (
            RawPeer(process.port, DEADLINE_S) as first,
            RawPeer(process.port, DEADLINE_S) as second,
        ):
            for number, peer in enumerate((first, second)):
                peer.associate(calling=f"S{number}".encode())
                uid = f"1.2.3.{number}".encode()
                assert peer.store(store_command(uid), data_set(uid)) == 0
            # They first: one that saw the acceptor's end could still close what is its.
            assert process.process is not None
            for worker in psutil.Process(process.process.pid).children():
                worker.kill()
            process.signal(signal.SIGKILL)
        process.settings.write_text(
            process.settings.read_text().replace("workers = 2", "workers = 1")
        )
        process.start()

        def is_closed() -> bool:
            endings = endings_of(process.spool)
            return all(
                [closed.ending for closed in endings[worker]] == [Ending.GATEWAY_LOST]
                for worker in (1, 2)
            )

        eventually(is_closed)
        good_store(process.port)
        assert process.signal(signal.SIGTERM) == 0
    finally:
        process.end()
    assert {w: len(found) for w, found in deliveries_of(process.spool).items()} == {1: 2, 2: 1}
    assert [path.name for path in (process.spool / "workers").iterdir()] == ["2"]
