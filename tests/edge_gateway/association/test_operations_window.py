"""The asynchronous operations window: several C-STOREs open, each answered once and after its own
flush (PS3.7 D.3.3.3).
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_gateway.association import AssociationLimits
from edge_gateway.receive import Receiver
from edge_gateway.spool import Ending, Spool, SpoolLimits
from load.hostile.leaving import reset
from load.hostile.raw_peer import (
    ABORT,
    AC,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    data_set,
    message,
    pdu,
    pdv,
    store_command,
    user_information,
)
from tests.edge_gateway.association.windowed_peer import (
    answers,
    associate,
    instance_of,
    negotiated_window,
    proposal,
    request,
)
from tests.edge_gateway.running_gateway import (
    MIB,
    RunningGateway,
    association_threads,
    eventually,
    gateway_settings,
    nothing_left_behind,
    running_gateway,
)
from tests.edge_gateway.spool.seams import HangingFileSystem

INVALID = 6
SLOW_S = 90.0
OUT_OF_RESOURCES = 0xA700


@contextmanager
def hanging_gateway(
    directory: Path, commit_wait_ms: int = 90_000, limits: AssociationLimits | None = None
) -> Iterator[tuple[RunningGateway, HangingFileSystem]]:
    """A gateway whose flushes a test can hold up."""
    fs, settings = HangingFileSystem(), gateway_settings(directory)
    spool_limits = SpoolLimits(
        segment_bytes=4 * MIB, free_bytes_min=0, commit_wait_ms=commit_wait_ms
    )
    with Spool.open(directory, settings.site, spool_limits, fs=fs) as spool:
        receiver = Receiver(settings, spool, limits)
        receiver.start()
        try:
            yield RunningGateway(receiver, spool, directory), fs
        finally:
            receiver.stop()


def in_time(condition: Callable[[], bool]) -> None:
    eventually(condition, SLOW_S)


def taken(gateway: RunningGateway, count: int, more_bytes: int = 0) -> bool:
    """Whether so many small data sets wait for the disk: a flush that hangs may be of others."""
    held_bytes = count * len(data_set(instance_of(1))) + more_bytes
    return gateway.spool.statistics().memory_bytes == held_bytes


def durable(gateway: RunningGateway) -> list[str]:
    return [delivery.sop_instance_uid for delivery, _ in gateway.deliveries()]


def says_nothing(peer: RawPeer) -> bool:
    """Whether no answer has come; a wrong one would have come by now."""
    return not select.select([peer.socket], [], [], 0.3)[0]


@pytest.mark.parametrize(
    ("proposed", "expected"),
    [
        pytest.param((1, 1), (1, 1), id="one"),
        pytest.param((5, 1), (5, 1), id="less-than-ours"),
        pytest.param((400, 7), (16, 1), id="more-than-ours"),
        pytest.param((0, 0), (16, 1), id="unlimited"),
    ],
)
def test_the_smaller_of_both_windows_is_negotiated(
    gateway: RunningGateway, proposed: tuple[int, int], expected: tuple[int, int]
) -> None:
    with RawPeer(gateway.port) as peer:
        kind, body = peer.associate(user=proposal(*proposed))
        assert kind == AC and negotiated_window(body) == expected


def test_no_window_is_answered_where_none_was_proposed(gateway: RunningGateway) -> None:
    with RawPeer(gateway.port) as peer:
        assert negotiated_window(peer.associate(user=user_information())[1]) is None


def test_the_setting_is_the_most_that_is_negotiated(tmp_path: Path) -> None:
    with (
        running_gateway(tmp_path, operations_window_max=1) as gateway,
        RawPeer(gateway.port) as peer,
    ):
        assert negotiated_window(peer.associate(user=proposal(9))[1]) == (1, 1)
        assert peer.store(store_command(), data_set()) == 0


def test_many_objects_of_one_association_are_each_answered_once_and_kept(
    gateway: RunningGateway,
) -> None:
    """Small ones, and each seventh in a file of its own (over 1 MiB with these segments)."""
    before = len(gateway.deliveries())
    wanted = {number: 1_500_000 * (number % 7 == 0) for number in range(1, 101)}
    with RawPeer(gateway.port, SLOW_S) as peer:
        associate(peer, 8)
        heard: list[tuple[int, int]] = []
        listener = threading.Thread(target=lambda: heard.extend(answers(peer, len(wanted))))
        listener.start()
        # As fast as it can, whatever the window: what is beyond it waits in the connection.
        for number, padding in wanted.items():
            peer.send(request(number, padding))
        listener.join(SLOW_S)
        assert sorted(heard) == [(number, 0) for number in wanted]
        peer.send(pdu(RELEASE_RQ, bytes(4)))
        assert peer.read_pdu()[0] == RELEASE_RP
    kept = {entry.sop_instance_uid: body for entry, body in gateway.deliveries()[before:]}
    assert kept == {
        instance_of(number).decode(): data_set(instance_of(number), padding)
        for number, padding in wanted.items()
    }


def test_what_waits_for_a_flush_is_not_answered_and_shares_the_next_one(tmp_path: Path) -> None:
    with hanging_gateway(tmp_path) as (gateway, fs), RawPeer(gateway.port, SLOW_S) as peer:
        associate(peer, 8)
        peer.send(request(1))
        assert answers(peer, 1) == [(1, 0)]
        with fs.hang():
            peer.send(request(2))
            in_time(lambda: fs.hanging > 0)
            for number in range(3, 9):
                peer.send(request(number))
            in_time(lambda: taken(gateway, 7))
            assert says_nothing(peer)
            flushes = gateway.spool.statistics().flushes
        assert sorted(answers(peer, 7)) == [(number, 0) for number in range(2, 9)]
        # The one that hung and the one that took all others; some may be of receipts.
        assert gateway.spool.statistics().flushes - flushes < 6
    assert len(durable(gateway)) == 8


def test_a_refusal_overtakes_what_waits_for_the_disk(tmp_path: Path) -> None:
    with hanging_gateway(tmp_path) as (gateway, fs), RawPeer(gateway.port, SLOW_S) as peer:
        associate(peer, 4)
        with fs.hang():
            peer.send(request(1))
            in_time(lambda: fs.hanging > 0)
            peer.send(message(store_command(b"../x", message_id=2), data_set()))
            assert answers(peer, 1) == [(2, 0x0117)]
        assert answers(peer, 1) == [(1, 0)]


def test_beyond_the_window_nothing_is_read_until_an_answer_is_out(tmp_path: Path) -> None:
    big = 200_000
    with hanging_gateway(tmp_path) as (gateway, fs), RawPeer(gateway.port, SLOW_S) as peer:
        associate(peer, 3)
        with fs.hang():
            everything = b"".join(request(number, big) for number in range(1, 61))
            sender = threading.Thread(target=peer.send, args=(everything,))
            sender.start()
            in_time(lambda: fs.hanging > 0)
            in_time(lambda: gateway.spool.statistics().memory_bytes >= 3 * big)
            assert says_nothing(peer)
            # Three data sets, and nothing of the fourth that its sender has begun.
            assert gateway.spool.statistics().memory_bytes < 4 * big
        assert sorted(answers(peer, 60)) == [(number, 0) for number in range(1, 61)]
        sender.join(SLOW_S)
    assert len(durable(gateway)) == 60


def test_a_message_id_that_is_open_ends_the_association_and_loses_nothing(tmp_path: Path) -> None:
    with hanging_gateway(tmp_path) as (gateway, fs), RawPeer(gateway.port, SLOW_S) as peer:
        associate(peer, 4)
        with fs.hang():
            peer.send(request(1))
            in_time(lambda: taken(gateway, 1))
            peer.send(request(1))
            assert peer.read_pdu() == (ABORT, bytes((0, 0, 2, INVALID)))
        assert peer.read_pdu() == (0, b"")
        in_time(lambda: [receipt.status for receipt in gateway.receipts()] == [0])
        in_time(lambda: [closed.ending for closed in gateway.closed()] == [Ending.ABORTED])
    assert durable(gateway) == [instance_of(1).decode()]


def test_a_release_is_answered_after_everything_that_is_open(tmp_path: Path) -> None:
    with hanging_gateway(tmp_path) as (gateway, fs), RawPeer(gateway.port, SLOW_S) as peer:
        associate(peer, 4)
        with fs.hang():
            peer.send(request(1) + request(2) + request(3) + pdu(RELEASE_RQ, bytes(4)))
            in_time(lambda: taken(gateway, 3))
            assert says_nothing(peer)
        assert sorted(answers(peer, 3)) == [(1, 0), (2, 0), (3, 0)]
        assert peer.read_pdu() == (RELEASE_RP, bytes(4))
        assert peer.read_pdu() == (0, b"")
        in_time(lambda: [closed.ending for closed in gateway.closed()] == [Ending.RELEASED])
        assert gateway.closed()[0].status_totals == ((0, 3),)


@pytest.mark.parametrize("leaving", ["abort", "reset", "close"])
def test_an_end_with_operations_open_leaves_nothing_and_every_receipt(
    tmp_path: Path, leaving: str
) -> None:
    begun = pdu(P_DATA, pdv(1, 3, store_command(message_id=3))) + pdu(P_DATA, pdv(1, 0, bytes(9)))
    with hanging_gateway(tmp_path) as (gateway, fs):
        with nothing_left_behind(gateway):
            peer = RawPeer(gateway.port, SLOW_S)
            associate(peer, 4)
            with fs.hang():
                peer.send(request(1) + request(2) + begun)
                in_time(lambda: taken(gateway, 2, more_bytes=9))
                if leaving == "abort":
                    peer.send(pdu(ABORT, bytes(4)))
                elif leaving == "reset":
                    reset(peer)
                peer.socket.close()
        in_time(lambda: len(gateway.closed()) == 1)
        expected = Ending.ABORTED if leaving == "abort" else Ending.LOST
        assert gateway.closed()[0].ending == expected
        assert gateway.closed()[0].status_totals == ((0, 2),)
        assert sorted(durable(gateway)) == [instance_of(n).decode() for n in (1, 2)]


def test_a_hung_disk_is_told_to_each_operation_by_its_deadline(tmp_path: Path) -> None:
    with hanging_gateway(tmp_path, 700) as (gateway, fs), RawPeer(gateway.port, SLOW_S) as peer:
        associate(peer, 4)
        with fs.hang():
            peer.send(request(1) + request(2) + request(3))
            assert sorted(answers(peer, 3)) == [(n, OUT_OF_RESOURCES) for n in (1, 2, 3)]
        # The association goes on once the disk does.
        in_time(lambda: gateway.spool.statistics().memory_bytes == 0)
        peer.send(request(4))
        assert answers(peer, 1) == [(4, 0)]


def test_a_peer_that_waits_for_an_answer_is_not_idle(tmp_path: Path) -> None:
    """And is, once it has it: the time begins anew with the answer."""
    limits = AssociationLimits(idle_timeout_s=1.0)
    with (
        hanging_gateway(tmp_path, limits=limits) as (gateway, fs),
        RawPeer(gateway.port, SLOW_S) as peer,
    ):
        associate(peer, 4)
        with fs.hang():
            peer.send(request(1))
            in_time(lambda: fs.hanging > 0)
            begun_s = time.monotonic()
            while time.monotonic() - begun_s < 2.5:
                assert says_nothing(peer)
        assert answers(peer, 1) == [(1, 0)]
        assert peer.read_pdu()[0] == ABORT


def test_a_stop_answers_what_is_open_and_reads_no_further(tmp_path: Path) -> None:
    limits = AssociationLimits(drain_timeout_s=SLOW_S)
    with (
        hanging_gateway(tmp_path, limits=limits) as (gateway, fs),
        RawPeer(gateway.port, SLOW_S) as peer,
    ):
        associate(peer, 4)
        with fs.hang():
            peer.send(request(1) + request(2))
            in_time(lambda: taken(gateway, 2))
            stopping = threading.Thread(target=gateway.receiver.stop)
            stopping.start()
        assert sorted(answers(peer, 2)) == [(1, 0), (2, 0)]
        assert peer.read_pdu()[0] == ABORT
        stopping.join(SLOW_S)
        assert association_threads() == 0
