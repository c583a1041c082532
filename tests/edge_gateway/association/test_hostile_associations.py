"""Peers that break the rules inside an association (H numbers: the design's list)."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_gateway.spool import AssociationOpened, Ending
from load.hostile.raw_peer import (
    ABORT,
    AC,
    EXPLICIT,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RQ,
    RawPeer,
    associate_body,
    context,
    data_set,
    element,
    pdu,
    pdv,
    store_command,
)
from tests.edge_gateway.association.raw_peer import ended_with_abort, good_store
from tests.edge_gateway.running_gateway import (
    RunningGateway,
    eventually,
    nothing_left_behind,
    running_gateway,
)

MIB = 1024 * 1024
INVALID, UNEXPECTED, UNRECOGNIZED = 6, 2, 1
MESSAGE = pdu(P_DATA, pdv(1, 3, store_command()))


def ended_associations(gateway: RunningGateway) -> Counter[Ending]:
    """How associations ended, once the log has heard of the end of each (100 ms behind)."""
    eventually(
        lambda: (
            sum(isinstance(entry, AssociationOpened) for entry in gateway.entries())
            == len(gateway.closed())
        )
    )
    return Counter(closed.ending for closed in gateway.closed())


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(struct.pack(">BBI", 4, 0, 0xFFFFFFFF), INVALID, id="H2"),
        pytest.param(struct.pack(">BBI", 4, 0, 256 * 1024 + 7), INVALID, id="H2-over-offer"),
        pytest.param(pdu(P_DATA, b""), INVALID, id="H3-none"),
        pytest.param(pdu(P_DATA, struct.pack(">IBB", 0, 1, 3)), INVALID, id="H3-0"),
        pytest.param(pdu(P_DATA, struct.pack(">IBB", 1, 1, 3)), INVALID, id="H3-1"),
        pytest.param(pdu(P_DATA, struct.pack(">IBB", 500, 1, 3)), INVALID, id="H3-larger"),
        pytest.param(pdu(P_DATA, struct.pack(">IBB", 0xFFFFFFFF, 1, 3)), INVALID, id="H3-max"),
        pytest.param(pdu(P_DATA, pdv(3, 3, store_command())), INVALID, id="unknown-context"),
        pytest.param(pdu(P_DATA, pdv(1, 2, data_set())), INVALID, id="data-without-command"),
        pytest.param(MESSAGE + pdu(P_DATA, pdv(1, 0, b"\0" * 64)) + MESSAGE, INVALID, id="H5"),
        pytest.param(
            MESSAGE + pdu(P_DATA, pdv(1, 0, b"\0" * 64)) + pdu(RQ, associate_body()),
            UNEXPECTED,
            id="H6",
        ),
        pytest.param(pdu(AC, associate_body()), UNEXPECTED, id="H7-later"),
        pytest.param(pdu(P_DATA, pdv(1, 3, store_command(field=0xFFFF))), INVALID, id="H16"),
        pytest.param(pdu(P_DATA, pdv(1, 3, store_command(field=0x8001))), INVALID, id="response"),
        pytest.param(pdu(P_DATA, pdv(1, 3, b"")), INVALID, id="empty-command"),
        pytest.param(pdu(P_DATA, pdv(1, 3, element(2, b"x" * 40)[:20])), INVALID, id="cut-command"),
        pytest.param(
            pdu(P_DATA, pdv(1, 1, bytes(16000))) + pdu(P_DATA, pdv(1, 1, bytes(1000))),
            INVALID,
            id="command-over-16-KiB",
        ),
        pytest.param(pdu(9, bytes(4)), UNRECOGNIZED, id="unknown-pdu"),
        pytest.param(struct.pack(">BBI", 5, 0, 4096), INVALID, id="long-release"),
    ],
)
def test_a_broken_rule_inside_an_association_ends_it(
    gateway: RunningGateway, sent: bytes, reason: int
) -> None:
    before, ended = len(gateway.deliveries()), ended_associations(gateway)
    with nothing_left_behind(gateway), RawPeer(gateway.port) as peer:
        assert peer.associate()[0] == AC
        peer.send(sent)
        good_store(gateway.port)
        ended_with_abort(peer, reason)
    assert len(gateway.deliveries()) == before + 1
    ended += Counter((Ending.ABORTED, Ending.RELEASED))
    eventually(lambda: ended_associations(gateway) == ended)


@pytest.mark.parametrize(
    "instance", [None, b"", b"1." * 32 + b"1", b"../../x", b"1.2\x003", b"1.2.3.x", b"1..2"]
)
def test_a_command_set_without_a_valid_instance_uid_is_refused(
    gateway: RunningGateway, instance: bytes | None
) -> None:
    """H15: 0117 (PS3.7 C.5.11), nothing kept, and the association goes on."""
    before = len(gateway.deliveries())
    with nothing_left_behind(gateway), RawPeer(gateway.port) as peer:
        peer.associate()
        assert peer.store(store_command(instance), data_set()) == 0x0117
        assert peer.store(store_command(), data_set()) == 0
    assert len(gateway.deliveries()) == before + 1
    assert all(receipt.sop_instance_uid in ("", "1.2.3.4.5") for receipt in gateway.receipts())


def test_a_group_length_that_lies_is_not_believed(gateway: RunningGateway) -> None:
    """H17."""
    for lie in (0, 0xFFFFFFFF):
        command = element(0, struct.pack("<I", lie)) + store_command()[12:]
        with RawPeer(gateway.port) as peer:
            peer.associate()
            assert peer.store(command, data_set()) == 0


def test_a_data_set_in_another_syntax_than_negotiated_is_kept(gateway: RunningGateway) -> None:
    """H18: implicit bytes where explicit was agreed; what is sent is stored, byte for byte."""
    with RawPeer(gateway.port) as peer:
        peer.associate(contexts=context(1, syntaxes=(EXPLICIT,)))
        peer.store(store_command(), data_set())
    delivery, body = gateway.deliveries()[-1]
    assert body == data_set() and delivery.transfer_syntax_uid == EXPLICIT


def test_floods_of_cancels_and_other_operations_do_no_harm(gateway: RunningGateway) -> None:
    """H19, H20: a C-CANCEL has no response, an N-EVENT-REPORT is answered 0211."""
    cancel = element(0x0100, struct.pack("<H", 0x0FFF)) + element(0x0120, b"\x01\x00")
    cancel += element(0x0800, b"\x01\x01")
    with nothing_left_behind(gateway), RawPeer(gateway.port) as peer:
        peer.associate()
        peer.send(pdu(P_DATA, pdv(1, 3, cancel)) * 2000)
        for _ in range(100):
            report = store_command(field=0x0100)
            assert peer.store(report, b"\0" * 8) == 0x0211
        assert peer.store(store_command(), data_set()) == 0


def _reset(peer: RawPeer) -> None:
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(lambda peer: None, id="connected"),
        pytest.param(lambda peer: peer.send(b"\x01\0\0\0\x01"), id="half-header"),
        pytest.param(lambda peer: peer.associate(), id="associated"),
        pytest.param(lambda peer: (peer.associate(), peer.send(MESSAGE)), id="command-sent"),
        pytest.param(
            lambda peer: (
                peer.associate(),
                peer.send(MESSAGE + pdu(P_DATA, pdv(1, 0, bytes(16000))) * 400),
            ),
            id="in-mid-data-set",
        ),
        pytest.param(
            lambda peer: (peer.associate(), peer.send(pdu(RELEASE_RQ, bytes(4)))), id="released"
        ),
    ],
)
def test_a_reset_in_any_state_leaves_nothing(
    gateway: RunningGateway, before: Callable[[RawPeer], object]
) -> None:
    """H22; in mid data set 6 MB are in a file of their own already."""
    stored = len(gateway.deliveries())
    with nothing_left_behind(gateway):
        peer = RawPeer(gateway.port)
        before(peer)
        _reset(peer)
        good_store(gateway.port)
    assert len(gateway.deliveries()) == stored + 1


def test_an_abort_in_mid_data_set_leaves_nothing(gateway: RunningGateway) -> None:
    stored = len(gateway.deliveries())
    with nothing_left_behind(gateway), RawPeer(gateway.port) as peer:
        peer.associate()
        peer.send(MESSAGE + pdu(P_DATA, pdv(1, 0, bytes(16000))) * 400)
        peer.send(pdu(ABORT, bytes(4)))
        assert peer.read_pdu() == (0, b"")
    assert len(gateway.deliveries()) == stored
    eventually(lambda: gateway.closed()[-1].ending == Ending.ABORTED)


def test_release_collision_and_data_after_release_end_the_association(
    gateway: RunningGateway,
) -> None:
    """H23, H24."""
    stored = len(gateway.deliveries())
    for late in (pdu(RELEASE_RP, bytes(4)), MESSAGE + pdu(P_DATA, pdv(1, 2, data_set()))):
        with RawPeer(gateway.port) as peer:
            peer.associate()
            peer.send(pdu(RELEASE_RQ, bytes(4)) + late)
            assert peer.read_pdu()[0] == RELEASE_RP
            assert peer.read_pdu() == (0, b"")
    assert len(gateway.deliveries()) == stored


def test_fragments_without_end_stop_at_the_limit(tmp_path: Path) -> None:
    """H4: over the object limit the data set is dropped, far over it the association ends."""
    with running_gateway(tmp_path, spool={"object_bytes_max": 64 * 1024}) as gateway:
        with nothing_left_behind(gateway), RawPeer(gateway.port) as peer:
            peer.associate()
            assert peer.store(store_command(), data_set(padding=100_000)) == 0xA700
            assert peer.store(store_command(), data_set(padding=1_000)) == 0
            peer.send(MESSAGE)
            with pytest.raises(OSError):
                for _ in range(100):
                    peer.send(pdu(P_DATA, pdv(1, 0, bytes(250_000))) * 4)
        assert len(gateway.deliveries()) == 1
