"""Bad input, one test for each kind: its status or reject, and what is kept of it."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.receive import Receiver, spool_limits
from edge_gateway.scu import AssociationRejected, Peer
from edge_gateway.spool import FileSystem, Receipt, Spool, SpooledDelivery, SpoolReleaser
from load.hostile.raw_peer import (
    AC,
    CT,
    EXPLICIT,
    P_DATA,
    RJ,
    RQ,
    RawPeer,
    associate_body,
    context,
    data_set,
    element,
    even,
    pdu,
    pdv,
    store_command,
)
from tests.edge_gateway.running_gateway import (
    LOOPBACK_ONLY,
    MIB,
    RunningGateway,
    echo,
    eventually,
    gateway_settings,
    running_gateway,
)

DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path) as running:
        yield running


def store(gateway: RunningGateway, data: bytes, **fields: Any) -> int:
    with RawPeer(gateway.port) as peer:
        assert peer.associate(**fields)[0] == AC
        return peer.store(store_command(), data)


def only_delivery(gateway: RunningGateway) -> tuple[SpooledDelivery, bytes, Receipt]:
    # A receipt waits 100 ms for company.
    eventually(lambda: len(gateway.receipts()) == 1)
    ((delivery, body),), (receipt,) = gateway.deliveries(), gateway.receipts()
    assert receipt.delivery_id == delivery.delivery_id
    assert receipt.content_sha256 == delivery.content_sha256 == hashlib.sha256(body).hexdigest()
    return delivery, body, receipt


def rejected(peer: Peer) -> tuple[int, int, int]:
    with pytest.raises(AssociationRejected) as caught:
        echo(peer)
    return caught.value.result, caught.value.source, caught.value.reason


def test_an_unknown_calling_ae_title_is_rejected_for_good(tmp_path: Path) -> None:
    admit = ({"calling_ae_title": "CT1", "network": "127.0.0.0/8"},)
    with running_gateway(tmp_path, admit=admit) as gateway:
        assert rejected(gateway.peer("CT2")) == (1, 1, 3)
        assert echo(gateway.peer("CT1")) == 0
        # Not an association: nothing of it in the log of record.
        eventually(lambda: len(gateway.closed()) == 1)


def test_a_wrong_called_ae_title_is_rejected_for_good(gateway: RunningGateway) -> None:
    assert rejected(gateway.peer(called="SOUTH")) == (1, 1, 7)


def test_a_network_that_no_rule_names_is_rejected(tmp_path: Path) -> None:
    admit = ({"calling_ae_title": "*", "network": "10.0.0.0/8"},)
    with running_gateway(tmp_path, admit=admit) as gateway:
        assert rejected(gateway.peer()) == (1, 1, 3)


def test_an_empty_allow_list_rejects_everybody_and_readiness_says_so(tmp_path: Path) -> None:
    with running_gateway(tmp_path, admit=()) as gateway:
        assert rejected(gateway.peer()) == (1, 1, 3)
        assert "nobody" in gateway.receiver.readiness().reason


def test_associations_over_the_limit_are_told_to_come_again(tmp_path: Path) -> None:
    admit = (LOOPBACK_ONLY[0] | {"associations_max": 1},)
    with running_gateway(tmp_path, admit=admit) as gateway:
        with RawPeer(gateway.port) as first:
            first.associate(calling=b"CT1")
            assert rejected(gateway.peer("CT1")) == (2, 3, 2)
            assert echo(gateway.peer("CT2")) == 0
        eventually(lambda: gateway.receiver.associations == 0)
        assert echo(gateway.peer("CT1")) == 0
        eventually(lambda: len(gateway.closed()) == 3)


def test_an_unsupported_context_is_refused_and_the_others_serve(gateway: RunningGateway) -> None:
    find = context(1, "1.2.840.10008.5.1.4.1.2.2.1")
    no_syntax = context(3, CT, ())
    with RawPeer(gateway.port) as peer:
        kind, body = peer.associate(contexts=find + no_syntax + context(5))
        assert kind == AC
        results = {
            body[i + 4]: body[i + 6] for i in range(len(body)) if body[i : i + 2] == b"\x21\0"
        }
        assert results == {1: 3, 3: 4, 5: 0}


@pytest.mark.parametrize("field", ["version", "application_context"])
def test_another_protocol_is_rejected(gateway: RunningGateway, field: str) -> None:
    body = associate_body(version=2 if field == "version" else 1)
    if field != "version":
        body = body.replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9")
    with RawPeer(gateway.port) as peer:
        peer.send(pdu(RQ, body))
        expected = (0, 1, 2, 2) if field == "version" else (0, 1, 1, 2)
        assert peer.read_pdu() == (RJ, bytes(expected))


def test_other_uids_than_the_command_set_are_kept_in_quarantine(gateway: RunningGateway) -> None:
    other = data_set(b"1.2.3.4.999")
    assert store(gateway, other) == 0
    delivery, body, receipt = only_delivery(gateway)
    assert (delivery.quarantine_reason, body, receipt.status) == ("uid_mismatch", other, 0)
    assert delivery.sop_instance_uid == "1.2.3.4.5"


def test_other_uids_are_answered_a900_where_the_rule_says_so(tmp_path: Path) -> None:
    admit = (LOOPBACK_ONLY[0] | {"mismatch": "refuse"},)
    with running_gateway(tmp_path, admit=admit) as gateway:
        assert store(gateway, data_set(b"1.2.3.4.999")) == 0xA900
        delivery, _, receipt = only_delivery(gateway)
        assert (delivery.quarantine_reason, receipt.status) == ("uid_mismatch", 0xA900)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("no elements", b""),
        ("noise", bytes(range(1, 200))),
        ("no UIDs", element(0x0060, b"CT", 8)),
        ("no instance UID", element(0x0016, even(CT.encode()), 8) + element(0x0060, b"CT", 8)),
        ("cut in the UID", data_set()[:40]),
        ("length beyond the end", element(0x0016, b"", 8)[:4] + b"\xff\xff\xff\x7f"),
    ],
)
def test_what_cannot_be_read_is_kept_before_it_is_refused(
    gateway: RunningGateway, name: str, data: bytes
) -> None:
    assert store(gateway, data) == 0xC000, name
    delivery, body, receipt = only_delivery(gateway)
    assert (delivery.quarantine_reason, body, receipt.status) == ("unreadable", data, 0xC000)


def test_a_c_store_without_a_data_set_is_refused_and_noted(gateway: RunningGateway) -> None:
    command = store_command().replace(element(0x0800, b"\x01\x00"), element(0x0800, b"\x01\x01"))
    with RawPeer(gateway.port) as peer:
        peer.associate()
        peer.send(pdu(P_DATA, pdv(1, 3, command)))
        assert peer.read_status() == 0xC000
    delivery, body, _ = only_delivery(gateway)
    assert (delivery.size_bytes, body) == (0, b"")


def test_deflate_that_is_none_is_unreadable(gateway: RunningGateway) -> None:
    assert store(gateway, data_set(), contexts=context(1, CT, (DEFLATED,))) == 0xC000


def test_a_truncated_data_set_is_stored_as_it_came(gateway: RunningGateway) -> None:
    truncated = data_set(padding=5_000)[:-900]
    assert store(gateway, truncated) == 0
    delivery, body, _ = only_delivery(gateway)
    assert (body, delivery.quarantine_reason) == (truncated, None)


def test_missing_study_uid_and_empty_pixel_data_are_no_fault(gateway: RunningGateway) -> None:
    body = element(0x0016, even(CT.encode()), 8) + element(0x0018, even(b"1.2.3.4.5"), 8)
    body += element(0x0010, b"", 0x7FE0)
    assert store(gateway, body) == 0
    assert only_delivery(gateway)[1] == body


def test_padded_uids_are_the_same_uids(gateway: RunningGateway) -> None:
    body = element(0x0016, CT.encode() + b" ", 8) + element(0x0018, b"1.2.3.4.5\0", 8)
    assert store(gateway, body, contexts=context(1, CT, (EXPLICIT,))) in (0, 0xC000)
    with RawPeer(gateway.port) as peer:
        peer.associate()
        assert peer.store(store_command(b"1.2.3.4.5 "), body) == 0
    assert gateway.deliveries()[-1][0].quarantine_reason is None


def test_a_full_spool_answers_a700_then_rejects_then_heals(tmp_path: Path) -> None:
    spool = {"spool_bytes_max": 16 * MIB, "segment_bytes": 4 * MIB}
    with running_gateway(tmp_path, spool=spool) as gateway:
        with RawPeer(gateway.port) as peer:
            peer.associate()
            statuses: list[int] = []
            while 0xA700 not in statuses and len(statuses) < 40:
                statuses.append(peer.store(store_command(), data_set(padding=2 * MIB)))
            assert statuses[-1] == 0xA700 and statuses.count(0) >= 2
            assert len(gateway.deliveries()) == statuses.count(0)
            assert not gateway.receiver.readiness().is_ready
            assert "full" in gateway.receiver.readiness().reason
            assert rejected(gateway.peer()) == (2, 3, 2)
            _make_room(gateway)
            eventually(lambda: gateway.receiver.readiness().is_ready)
            # The association that was refused goes on.
            assert peer.store(store_command(), data_set()) == 0
        assert echo(gateway.peer()) == 0


def _make_room(gateway: RunningGateway) -> None:
    with SpoolReleaser(gateway.directory) as releaser:
        for delivery, _ in gateway.deliveries():
            releaser.purge(delivery.delivery_id)


class DyingDisk(FileSystem):
    """The real file system, until it is told to fail."""

    is_dying = False

    def flush(self, descriptor: int) -> None:
        if self.is_dying:
            raise OSError(errno.EIO, "Input/output error")
        super().flush(descriptor)


def test_a_broken_disk_acknowledges_nothing_any_more(tmp_path: Path) -> None:
    settings = gateway_settings(tmp_path)
    disk = DyingDisk()
    with Spool.open(tmp_path, "north", spool_limits(settings), fs=disk) as spool:
        receiver = Receiver(settings, spool)
        receiver.start()
        with RawPeer(receiver.addresses.dicom_port) as peer:
            peer.associate()
            assert peer.store(store_command(), data_set()) == 0
            disk.is_dying = True
            assert peer.store(store_command(), data_set()) == 0xA700
            disk.is_dying = False
            assert peer.store(store_command(), data_set()) == 0xA700
        assert not receiver.readiness().is_ready
        assert "broken" in receiver.readiness().reason
        receiver.stop()
