"""Peers that break the rules inside an association (H numbers: the design's list)."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import pytest

from edge_gateway.association import AssociationLimits
from edge_gateway.spool import AssociationOpened, Ending
from load.hostile.inside import (
    BROKEN,
    CANCEL,
    COMMAND,
    EVENT_REPORTS,
    LYING_COMMANDS,
    NO_INSTANCE_UIDS,
    OTHER_SYNTAX,
    send_cancels,
    send_event_reports,
)
from load.hostile.leaving import AFTER_RELEASE, MID_DATA_SET, STATES, reset
from load.hostile.raw_peer import (
    ABORT,
    AC,
    EXPLICIT,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    data_set,
    element,
    pdu,
    pdv,
    store_command,
)
from tests.edge_gateway.association.both_doors import GatewayBehindDoor, behind
from tests.edge_gateway.association.raw_peer import ended_with_abort
from tests.edge_gateway.running_gateway import (
    RunningGateway,
    association_threads,
    eventually,
    nothing_left_behind,
    running_gateway,
)

__all__ = ["behind"]
MIB = 1024 * 1024
INVALID, UNEXPECTED, UNRECOGNIZED = 6, 2, 1
# Of BROKEN, what is a PDU at the wrong time; the rest has a wrong content (PS3.8 9.3.8).
UNEXPECTED_PDUS = {"H6", "H7-later"}


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
        *(
            pytest.param(sent, UNEXPECTED if name in UNEXPECTED_PDUS else INVALID, id=name)
            for name, sent in BROKEN.items()
        ),
        pytest.param(pdu(P_DATA, pdv(3, 3, store_command())), INVALID, id="unknown-context"),
        pytest.param(pdu(P_DATA, pdv(1, 2, data_set())), INVALID, id="data-without-command"),
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
    behind: GatewayBehindDoor, sent: bytes, reason: int
) -> None:
    before, ended = len(behind.gateway.deliveries()), ended_associations(behind.gateway)
    with nothing_left_behind(behind.gateway), behind.raw_peer() as peer:
        assert peer.associate()[0] == AC
        peer.send(sent)
        behind.good_store()
        ended_with_abort(peer, reason)
    assert len(behind.gateway.deliveries()) == before + 1
    ended += Counter((Ending.ABORTED, Ending.RELEASED))
    eventually(lambda: ended_associations(behind.gateway) == ended)


@pytest.mark.parametrize("instance", NO_INSTANCE_UIDS)
def test_a_command_set_without_a_valid_instance_uid_is_refused(
    behind: GatewayBehindDoor, instance: bytes | None
) -> None:
    """H15: 0117 (PS3.7 C.5.11), nothing kept, and the association goes on."""
    before = len(behind.gateway.deliveries())
    with nothing_left_behind(behind.gateway), behind.raw_peer() as peer:
        peer.associate()
        assert peer.store(store_command(instance), data_set()) == 0x0117
        assert peer.store(store_command(), data_set()) == 0
    assert len(behind.gateway.deliveries()) == before + 1
    assert all(
        receipt.sop_instance_uid in ("", "1.2.3.4.5") for receipt in behind.gateway.receipts()
    )


def test_a_group_length_that_lies_is_not_believed(behind: GatewayBehindDoor) -> None:
    """H17."""
    for command in LYING_COMMANDS:
        with behind.raw_peer() as peer:
            peer.associate()
            assert peer.store(command, data_set()) == 0


def test_a_data_set_in_another_syntax_than_negotiated_is_kept(behind: GatewayBehindDoor) -> None:
    """H18: implicit bytes where explicit was agreed; what is sent is stored, byte for byte."""
    with behind.raw_peer() as peer:
        peer.associate(contexts=OTHER_SYNTAX)
        peer.store(store_command(), data_set())
    delivery, body = behind.gateway.deliveries()[-1]
    assert body == data_set() and delivery.transfer_syntax_uid == EXPLICIT


def test_floods_of_cancels_and_other_operations_do_no_harm(behind: GatewayBehindDoor) -> None:
    """H19, H20: a C-CANCEL has no response, an N-EVENT-REPORT is answered 0211."""
    with nothing_left_behind(behind.gateway), behind.raw_peer() as peer:
        peer.associate()
        send_cancels(peer)
        assert send_event_reports(peer) == [0x0211] * EVENT_REPORTS
        assert peer.store(store_command(), data_set()) == 0


def test_operations_that_wait_in_the_buffer_do_not_outlast_a_stop(tmp_path: Path) -> None:
    """C-CANCELs in one PDU, each with its pause, make two minutes: a stop ends them at once."""
    cancels = pdv(1, 3, CANCEL) * 120_000
    limits = AssociationLimits(pdu_bytes_max=len(cancels))
    with running_gateway(tmp_path / "spool", limits) as gateway:
        peer = RawPeer(gateway.port)
        peer.associate()
        peer.send(pdu(P_DATA, cancels))
        eventually(lambda: association_threads() == 1)
        gateway.receiver.stop()
        eventually(lambda: association_threads() == 0)
        assert peer.read_pdu()[0] == ABORT
        peer.socket.close()


@pytest.mark.parametrize("state", STATES)
def test_a_reset_in_any_state_leaves_nothing(behind: GatewayBehindDoor, state: str) -> None:
    """H22; in mid data set 6 MB are in a file of their own already."""
    stored = len(behind.gateway.deliveries())
    with nothing_left_behind(behind.gateway):
        peer = behind.raw_peer()
        STATES[state](peer)
        reset(peer)
        behind.good_store()
    assert len(behind.gateway.deliveries()) == stored + 1


def test_an_abort_in_mid_data_set_leaves_nothing(behind: GatewayBehindDoor) -> None:
    stored = len(behind.gateway.deliveries())
    with nothing_left_behind(behind.gateway), behind.raw_peer() as peer:
        peer.associate()
        peer.send(MID_DATA_SET)
        peer.send(pdu(ABORT, bytes(4)))
        assert peer.read_pdu() == (0, b"")
    assert len(behind.gateway.deliveries()) == stored
    eventually(lambda: behind.gateway.closed()[-1].ending == Ending.ABORTED)


def test_release_collision_and_data_after_release_end_the_association(
    behind: GatewayBehindDoor,
) -> None:
    """H23, H24."""
    stored = len(behind.gateway.deliveries())
    for late in AFTER_RELEASE.values():
        with behind.raw_peer() as peer:
            peer.associate()
            peer.send(pdu(RELEASE_RQ, bytes(4)) + late)
            assert peer.read_pdu()[0] == RELEASE_RP
            assert peer.read_pdu() == (0, b"")
    assert len(behind.gateway.deliveries()) == stored


def test_fragments_without_end_stop_at_the_limit(tmp_path: Path) -> None:
    """H4: over the object limit the data set is dropped, far over it the association ends."""
    with running_gateway(tmp_path, spool={"object_bytes_max": 64 * 1024}) as gateway:
        with nothing_left_behind(gateway), RawPeer(gateway.port) as peer:
            peer.associate()
            assert peer.store(store_command(), data_set(padding=100_000)) == 0xA700
            assert peer.store(store_command(), data_set(padding=1_000)) == 0
            peer.send(COMMAND)
            with pytest.raises(OSError):
                for _ in range(100):
                    peer.send(pdu(P_DATA, pdv(1, 0, bytes(250_000))) * 4)
        assert len(gateway.deliveries()) == 1
