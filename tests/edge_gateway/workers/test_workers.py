"""A gateway of several workers is one gateway: balance, limits, stop, TLS, hostile peers."""

from __future__ import annotations

import random
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from contracts.failures import EXIT_FATAL
from edge_gateway import status
from edge_gateway.spool import SpooledDelivery
from load.hostile.catalogue import HOSTILE
from load.hostile.crowd import Crowd
from load.hostile.peer import Door, Visit
from load.hostile.raw_peer import (
    ABORT,
    AC,
    P_DATA,
    RELEASE_RQ,
    RJ,
    RawPeer,
    data_set,
    pdu,
    pdv,
    store_command,
)
from load.hostile.slow import CONNECTS, SLOW_ASSOCIATIONS, open_association, open_crowd, send_slowly
from tests.edge_gateway.association.authority import Authority
from tests.edge_gateway.association.raw_peer import good_store
from tests.edge_gateway.running_gateway import DEADLINE_S, eventually, stored
from tests.edge_gateway.test_receive_process import ReceiveProcess
from tests.edge_gateway.workers.running_workers import (
    RunningWorkers,
    deliveries_of,
    nothing_left_behind,
    running_workers,
)

SEED = 7
GOOD_STORES = 3
ANY = {"calling_ae_title": "*", "network": "127.0.0.0/8"}


def associated(port: int, calling: str, tls: ssl.SSLContext | None = None) -> RawPeer:
    peer = RawPeer(port, DEADLINE_S, tls)
    assert peer.associate(calling=calling.encode())[0] == AC
    return peer


def rejection(port: int, calling: str) -> tuple[int, int, int]:
    """Result, source and reason of the refusal that this peer is told."""
    with RawPeer(port, DEADLINE_S) as peer:
        kind, body = peer.associate(calling=calling.encode())
        assert kind == RJ
        return body[1], body[2], body[3]


def test_30_associations_are_10_for_each_of_3_workers(tmp_path: Path) -> None:
    with running_workers(tmp_path, 3) as gateway:
        with ExitStack() as open_peers:
            peers = [
                open_peers.enter_context(associated(gateway.port, f"S{number}"))
                for number in range(30)
            ]
            assert gateway.counts == {1: 10, 2: 10, 3: 10}
            for number, peer in enumerate(peers):
                uid = f"1.2.3.{number}".encode()
                assert peer.store(store_command(uid), data_set(uid)) == 0
            for peer in peers:
                peer.send(pdu(RELEASE_RQ, bytes(4)))
                peer.read_pdu()
        eventually(lambda: gateway.associations == 0 and set(gateway.counts.values()) == {0})
        eventually(lambda: gateway.metric("hilum_store_response_total", status="0000") == 30)
        eventually(lambda: gateway.metric("hilum_association_total", ended="released") == 30)
        assert gateway.metric("hilum_store_seconds_count") == 30
    assert {worker: len(found) for worker, found in deliveries_of(tmp_path).items()} == {
        1: 10,
        2: 10,
        3: 10,
    }


def test_limits_are_the_gateways_whichever_worker_serves(tmp_path: Path) -> None:
    rules = [ANY | {"calling_ae_title": "CT", "associations_max": 3}, ANY]
    full = (status.CONGESTION.result, status.CONGESTION.source, status.CONGESTION.reason)
    limit = status.LIMIT_EXCEEDED
    with (
        running_workers(tmp_path, 3, admit=rules, associations_max=7) as gateway,
        ExitStack() as open_peers,
    ):
        scanners = [open_peers.enter_context(associated(gateway.port, "CT")) for _ in range(3)]
        assert rejection(gateway.port, "CT") == (limit.result, limit.source, limit.reason)
        for number in range(4):
            open_peers.enter_context(associated(gateway.port, f"S{number}"))
        assert rejection(gateway.port, "S9") == full
        scanners[0].socket.close()
        eventually(lambda: gateway.associations == 6)
        open_peers.enter_context(associated(gateway.port, "CT"))
        assert rejection(gateway.port, "S9") == full


def test_an_edited_worker_count_is_validated(tmp_path: Path) -> None:
    process = ReceiveProcess(tmp_path, workers=2, spool={"spool_bytes_max": 20 * 1024 * 1024})
    with process.log.open("ab") as log:
        assert process.run_to_end(log) == EXIT_FATAL
    assert "lower workers" in process.log.read_text()


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[ReceiveProcess]:
    process = ReceiveProcess(tmp_path, workers=2)
    yield process
    process.end()


def test_a_stop_lets_the_running_store_of_a_worker_finish(two_workers: ReceiveProcess) -> None:
    two_workers.start()
    body = data_set(padding=300_000)
    with (
        RawPeer(two_workers.port, DEADLINE_S) as busy,
        RawPeer(two_workers.port, DEADLINE_S) as idle,
    ):
        busy.associate()
        idle.associate()
        busy.send(pdu(P_DATA, pdv(1, 3, store_command())) + pdu(P_DATA, pdv(1, 0, body[:1000])))
        stopped: list[int] = []
        stopping = threading.Thread(
            target=lambda: stopped.append(two_workers.signal(signal.SIGTERM))
        )
        stopping.start()
        assert idle.read_pdu()[0] == ABORT
        for start in range(1000, len(body), 100_000):
            is_last = start + 100_000 >= len(body)
            busy.send(pdu(P_DATA, pdv(1, 2 * is_last, body[start : start + 100_000])))
        assert busy.read_status() == 0
        assert busy.read_pdu()[0] == ABORT
        stopping.join()
    assert stopped == [0]
    found = [body for path in spools_of(two_workers.spool) for body in bodies(path)]
    assert found == [body]


def spools_of(spool: Path) -> list[Path]:
    return [spool, spool / "workers" / "2"]


def bodies(path: Path) -> list[bytes]:
    return [body for entry, body in stored(path) if isinstance(entry, SpooledDelivery)]


def test_workers_shake_hands_and_take_renewed_certificates(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca")
    tls = authority.gateway_settings("gateway")
    with running_workers(tmp_path / "spool", 2, tls=tls.model_dump()) as gateway:
        client = authority.client(authority)
        with ExitStack() as open_peers:
            peers = [
                open_peers.enter_context(associated(gateway.port, f"S{n}", client))
                for n in range(4)
            ]
            assert gateway.counts == {1: 2, 2: 2}
            first = serials(gateway.port, client)
            assert len(first) == 1
            authority.issue("gateway")
            gateway.process.ask_for_reload()
            eventually(lambda: not first & serials(gateway.port, client))
            for peer in peers:
                assert peer.store(store_command(), data_set()) == 0


def serials(port: int, client: ssl.SSLContext) -> set[str]:
    """Of the certificates that two connections at a time are shown, one at each worker."""
    seen = set()
    with RawPeer(port, DEADLINE_S, client) as one, RawPeer(port, DEADLINE_S, client) as other:
        for peer in (one, other):
            assert isinstance(peer.socket, ssl.SSLSocket)
            shown = peer.socket.getpeercert()
            assert shown is not None
            seen.add(str(shown["serialNumber"]))
    return seen


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorkers]:
    """A gateway of two workers that lives through all of them."""
    with running_workers(tmp_path_factory.mktemp("spool"), 2) as gateway:
        good_store(gateway.port)
        yield gateway


def patient_visit(gateway: RunningWorkers) -> Visit:
    door = Door(gateway.port, answer_timeout_s=DEADLINE_S)
    return Visit(door, time.monotonic() + 2 * DEADLINE_S, random.Random(SEED))


@pytest.mark.parametrize("key", ["H1", "H4", "H19", "H22", "H25", "H28"])
def test_a_good_sender_beside_a_crowd_is_answered_and_no_worker_keeps_anything(
    crowded: RunningWorkers, key: str
) -> None:
    peer = HOSTILE[key]
    with nothing_left_behind(crowded):
        crowd = Crowd(peer, Door(crowded.port, answer_timeout_s=DEADLINE_S), SEED)
        crowd.start()
        try:
            for _ in range(GOOD_STORES):
                good_store(crowded.port)
            eventually(lambda: crowd.turns >= max(len(peer.acts), peer.threads))
            good_store(crowded.port)
        finally:
            crowd.stop()
    good_store(crowded.port)


def test_2000_connects_keep_nobody_out_of_the_workers(crowded: RunningWorkers) -> None:
    """H29."""
    visit = patient_visit(crowded)
    with nothing_left_behind(crowded):
        assert open_crowd(visit) == CONNECTS
        good_store(crowded.port)
        visit.close_all()


def test_200_slow_associations_are_shared_by_the_workers_and_all_answered(
    crowded: RunningWorkers,
) -> None:
    """H30; 50 s are made 1, the number is the design's."""
    before = {worker: len(found) for worker, found in deliveries_of(crowded.directory).items()}
    visit = patient_visit(crowded)
    with nothing_left_behind(crowded):
        peers = [open_association(visit, number) for number in range(SLOW_ASSOCIATIONS)]
        eventually(lambda: set(crowded.counts.values()) == {SLOW_ASSOCIATIONS // 2})
        assert send_slowly(peers, visit, 1.0) == [0] * SLOW_ASSOCIATIONS
        visit.close_all()
    after = {worker: len(found) for worker, found in deliveries_of(crowded.directory).items()}
    assert {w: after[w] - before[w] for w in after} == {1: 100, 2: 100}
