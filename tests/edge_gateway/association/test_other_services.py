"""Associations without storage are served by the same engine, within the same limits."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from edge_gateway.commitment.request import PUSH_MODEL
from load.hostile.raw_peer import (
    ABORT,
    AC,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    context,
    data_set,
    element,
    even,
    pdu,
    pdv,
    store_command,
)
from tests.edge_gateway.association.test_user_information import VERIFICATION, results
from tests.edge_gateway.running_gateway import RunningGateway, nothing_left_behind, running_gateway

INVALID = 6
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
WORKLIST = "1.2.840.10008.5.1.4.31"
PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"
REFUSED = 3
C_FIND = 0x0020


def echo_command() -> bytes:
    body = element(0x0002, even(VERIFICATION.encode())) + element(0x0100, b"\x30\0")
    body += element(0x0110, b"\7\0") + element(0x0800, b"\1\1")
    return element(0, struct.pack("<I", len(body))) + body


def test_verification_alone_is_served(gateway: RunningGateway) -> None:
    with nothing_left_behind(gateway), RawPeer(gateway.port) as peer:
        assert peer.associate(contexts=context(1, VERIFICATION))[0] == AC
        for _ in range(3):
            peer.send(pdu(P_DATA, pdv(1, 3, echo_command())))
            assert peer.read_status() == 0
        peer.send(pdu(RELEASE_RQ, bytes(4)))
        assert peer.read_pdu() == (RELEASE_RP, bytes(4))


def test_nothing_is_stored_through_a_context_of_another_service(gateway: RunningGateway) -> None:
    before = len(gateway.deliveries())
    with RawPeer(gateway.port) as peer:
        peer.associate(contexts=context(1, VERIFICATION))
        assert peer.store(store_command(), data_set()) == 0x0122
        assert peer.store(store_command(field=C_FIND), data_set()) == 0x0211
    assert len(gateway.deliveries()) == before


@pytest.mark.parametrize("abstract_syntax", [FIND, WORKLIST, PERFORMED_STEP, PUSH_MODEL])
def test_services_that_are_not_served_are_refused_by_context(
    gateway: RunningGateway, abstract_syntax: str
) -> None:
    """Commitment too, for a peer that may not ask. The association stands, and can be ended."""
    with nothing_left_behind(gateway), RawPeer(gateway.port) as peer:
        kind, body = peer.associate(contexts=context(1, abstract_syntax))
        assert kind == AC and results(body) == {1: REFUSED}
        peer.send(pdu(RELEASE_RQ, bytes(4)))
        assert peer.read_pdu() == (RELEASE_RP, bytes(4))


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(struct.pack(">BBI", P_DATA, 0, 0xFFFFFFFF), id="length"),
        pytest.param(pdu(P_DATA, pdv(1, 1, bytes(16_000))) * 2, id="command-over-16-KiB"),
        pytest.param(pdu(P_DATA, pdv(3, 3, store_command())), id="unknown-context"),
    ],
)
@pytest.mark.parametrize("service", [VERIFICATION, PUSH_MODEL])
def test_the_limits_are_those_of_storage(tmp_path: Path, service: str, sent: bytes) -> None:
    peers = [{"ae_title": "RAW", "host": "127.0.0.1", "port": 11112}]
    with (
        running_gateway(tmp_path, commitment={"peers": peers}) as gateway,
        nothing_left_behind(gateway),
        RawPeer(gateway.port) as peer,
    ):
        assert peer.associate(contexts=context(1, service))[0] == AC
        peer.send(sent)
        assert peer.read_pdu() == (ABORT, bytes((0, 0, 2, INVALID)))
