"""Peers that break the rules before or while they associate (H numbers: the design's list)."""

from __future__ import annotations

import random
import resource
import struct
import threading
import time
from pathlib import Path

import pytest

from edge_gateway.association import AssociationLimits
from load.hostile.leaving import half_close
from load.hostile.opening import (
    FIRST_BYTES,
    FIRST_SYNTAX,
    MANY_SYNTAXES,
    MAXIMUM_LENGTHS,
    NO_TITLES,
    ODD_TITLES,
    USER_ITEMS,
    say_noise,
)
from load.hostile.peer import Visit
from load.hostile.raw_peer import (
    ABORT,
    AC,
    P_DATA,
    RELEASE_RQ,
    RJ,
    RQ,
    RawPeer,
    associate_body,
    data_set,
    item,
    message,
    pdu,
    pdv,
    store_command,
    user_information,
)
from load.hostile.slow import DRIPPED, drip
from tests.edge_gateway.association.both_doors import GatewayBehindDoor, behind
from tests.edge_gateway.association.raw_peer import ended_with_abort, good_store
from tests.edge_gateway.running_gateway import (
    DEADLINE_S,
    association_threads,
    eventually,
    nothing_left_behind,
    running_gateway,
)

__all__ = ["behind"]
MIB = 1024 * 1024
INVALID, UNEXPECTED, UNRECOGNIZED = 6, 2, 1
# What each of the first words is answered with (PS3.8 9.3.8).
ABORT_REASONS = {
    "H1": INVALID,
    "H7": UNEXPECTED,
    "H9-300-contexts": INVALID,
    "H9-even-id": INVALID,
    "H9-duplicate-id": INVALID,
    "H28-http": UNRECOGNIZED,
    "H28-ssh": UNRECOGNIZED,
    "H28-smb": UNRECOGNIZED,
}


@pytest.mark.parametrize(
    ("first_bytes", "reason"),
    [
        *(pytest.param(first, ABORT_REASONS[name], id=name) for name, first in FIRST_BYTES.items()),
        pytest.param(pdu(RELEASE_RQ, bytes(4)), UNEXPECTED, id="release-first"),
        pytest.param(pdu(P_DATA, pdv(1, 3, store_command())), UNEXPECTED, id="data-first"),
        pytest.param(pdu(RQ, bytes(10)), INVALID, id="short-request"),
        pytest.param(
            pdu(RQ, associate_body(contexts=struct.pack(">BBH", 0x20, 0, 0xFFFF))),
            INVALID,
            id="item-longer-than-pdu",
        ),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", UNRECOGNIZED, id="tls-hello"),
    ],
)
def test_nonsense_instead_of_a_request_is_aborted(
    behind: GatewayBehindDoor, first_bytes: bytes, reason: int
) -> None:
    with nothing_left_behind(behind.gateway), behind.raw_peer() as peer:
        peer.send(first_bytes)
        behind.good_store()
        ended_with_abort(peer, reason)


def test_declared_lengths_take_no_memory(behind: GatewayBehindDoor) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind in (RQ, P_DATA):
        with behind.raw_peer() as peer:
            if kind == P_DATA:
                peer.associate()
            try:
                peer.send(struct.pack(">BBI", kind, 0, 0x7FFFFFFF))
                for _ in range(64):
                    peer.send(bytes(MIB))
            except OSError:
                pass  # cut off, which is the point
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024
    behind.good_store()


def test_16000_transfer_syntaxes_are_read_and_the_first_one_taken(
    behind: GatewayBehindDoor,
) -> None:
    """H8: 128 contexts of 125."""
    with behind.raw_peer() as peer:
        kind, body = peer.associate(contexts=MANY_SYNTAXES)
        assert kind == AC
        assert body.count(FIRST_SYNTAX.encode()) == 128


@pytest.mark.parametrize(
    ("title", "kind"),
    [*((title, RJ) for title in NO_TITLES), *((title, AC) for title in ODD_TITLES)],
)
def test_calling_ae_titles_that_are_none_are_rejected(
    behind: GatewayBehindDoor, title: bytes, kind: int
) -> None:
    """H10."""
    with behind.raw_peer() as peer:
        answer, body = peer.associate(calling=title)
        assert answer == kind
        if kind == RJ:
            assert body == bytes((0, 1, 1, 3))


@pytest.mark.parametrize("length", MAXIMUM_LENGTHS)
def test_maximum_lengths_of_peers_are_kept(behind: GatewayBehindDoor, length: int) -> None:
    """H11: whatever the peer can take, no PDU of ours is longer."""
    with behind.raw_peer() as peer:
        answer, _ = peer.associate(user=user_information(length))
        assert answer == (RJ if length in (1, 7) else AC)
        if answer == AC:
            peer.send(message(store_command(), data_set()))
            command = b""
            while True:
                pdu_type, body = peer.read_pdu()
                assert pdu_type == P_DATA and (not length or len(body) <= length)
                command += body[6:]
                if body[5] & 2:
                    break
            assert struct.pack("<HHIH", 0, 0x0900, 2, 0) in command


def test_unknown_user_items_are_passed_over_and_odd_windows_negotiated_down(
    behind: GatewayBehindDoor,
) -> None:
    """H12, H13, H14: an identity of 60 KB, windows of 0/0 and 65535, items that do not exist."""
    for name, extra in USER_ITEMS.items():
        with behind.raw_peer() as peer:
            kind, body = peer.associate(user=user_information(more=extra))
            assert kind == AC
            narrowed = item(0x53, struct.pack(">HH", 16, 1))
            assert (narrowed in body) == (b"\x53\0\0\x04" in body) == name.startswith("H13")
            assert peer.store(store_command(), data_set()) == 0


def test_a_half_closed_peer_is_let_go(tmp_path: Path) -> None:
    """H21, in plain text: Python's TLS socket reads no more once its writing side is closed."""
    with running_gateway(tmp_path) as gateway:
        good_store(gateway.port)
        eventually(lambda: association_threads() == 0)
        with nothing_left_behind(gateway), RawPeer(gateway.port) as peer:
            half_close(peer)
            assert peer.read_pdu()[0] == AC
            assert peer.read_pdu() == (0, b"")


def test_random_bytes_never_stop_the_gateway(behind: GatewayBehindDoor) -> None:
    """H28; the seed is fixed, so a failure repeats."""
    visit = Visit(behind.door, time.monotonic() + DEADLINE_S, random.Random(28))
    with nothing_left_behind(behind.gateway):
        for _ in range(60):
            say_noise(visit)
    behind.good_store()


def test_idle_connections_are_closed_oldest_first(tmp_path: Path) -> None:
    """H29: silent ones beyond the places of one address push each other out, never a speaker."""
    limits = AssociationLimits(request_timeout_s=120.0)  # none goes by itself
    with running_gateway(tmp_path, limits) as gateway:
        silent = [RawPeer(gateway.port) for _ in range(150)]
        good_store(gateway.port)
        eventually(lambda: association_threads() <= 64)
        assert silent[0].read_pdu() == (0, b"")
        good_store(gateway.port)
        for peer in silent:
            peer.socket.close()
        eventually(lambda: association_threads() == 0)


@pytest.mark.parametrize("where", ["request-header", "request-body", "data-header", "data-body"])
def test_one_byte_at_a_time_ends_by_the_clock(tmp_path: Path, where: str) -> None:
    """H25: the deadline is of the whole PDU, not of each read."""
    is_data = where.startswith("data")
    # The good part, an association that data are sent in, may take its time.
    limits = AssociationLimits(request_timeout_s=DEADLINE_S if is_data else 0.6, pdu_timeout_s=0.6)
    data, at_once = DRIPPED[where]
    pauses: list[float] = []
    is_over = threading.Event()

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return not is_over.wait(seconds)

    with running_gateway(tmp_path, limits) as gateway, RawPeer(gateway.port) as peer:
        if is_data:
            peer.associate()
        peer.send(data[:at_once])
        # All of it would take a minute and more.
        dripping = threading.Thread(target=drip, args=(peer, data[at_once:], 0.5, pause))
        dripping.start()
        kind, _ = peer.read_pdu()
        is_over.set()
        dripping.join()
    assert kind == (ABORT if is_data else 0)
    assert len(pauses) < len(data) - at_once
