"""The DICOM port with TLS: who gets in, how long a handshake may take, and a reload."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom import _config as pynetdicom_config
from pynetdicom.sop_class import Verification

from contracts.failures import FatalError
from edge_gateway.association import AssociationLimits, TlsCertificates
from edge_gateway.association.connection import ConnectionLost
from edge_gateway.outgoing import OutgoingInstance, read_outgoing
from edge_gateway.scu import StoreScu
from infra.settings_tls import GatewayTls
from load.hostile.raw_peer import RQ, RawPeer, associate_body, data_set, pdu
from load.hostile.slow import CLIENT_HELLO, send_beneath_tls
from tests.edge_gateway.association.authority import Authority
from tests.edge_gateway.running_gateway import (
    RunningGateway,
    echo,
    nothing_left_behind,
    running_gateway,
)

pynetdicom_config.LOG_HANDLER_LEVEL = "none"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture(scope="module")
def settings(authority: Authority) -> GatewayTls:
    return authority.gateway_settings("gateway")


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, settings: GatewayTls
) -> Iterator[RunningGateway]:
    spool = tmp_path_factory.mktemp("spool")
    with running_gateway(spool, tls=settings.model_dump()) as running:
        yield running


def test_a_peer_with_a_certificate_stores(
    gateway: RunningGateway, authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "instance"
    path.write_bytes(data_set(padding=3_000_000))
    instance = read_outgoing(path)
    assert isinstance(instance, OutgoingInstance)
    peer = gateway.peer(tls=authority.client(authority))
    assert echo(peer) == 0
    assert StoreScu().send([instance] * 3, peer).is_complete
    assert [body for _, body in gateway.deliveries()] == [path.read_bytes()] * 3
    assert "client certificates required" in gateway.receiver.readiness().reason


def test_pynetdicom_associates_over_tls(gateway: RunningGateway, authority: Authority) -> None:
    ae = AE("PYNET")
    ae.add_requested_context(Verification)
    context = authority.client(authority)
    association = ae.associate(
        "127.0.0.1", gateway.port, ae_title="NORTH", tls_args=(context, "127.0.0.1")
    )
    assert association.is_established and association.send_c_echo().Status == 0
    association.release()


def test_no_certificate_or_a_strangers_gets_nobody_in(
    gateway: RunningGateway, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority.create(tmp_path / "stranger")
    for context in (authority.client(), authority.client(stranger)):
        with pytest.raises(ConnectionLost):
            echo(gateway.peer(tls=context))
    assert echo(gateway.peer(tls=authority.client(authority))) == 0


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_versions_of_tls_are_not_spoken(
    gateway: RunningGateway, authority: Authority, settings: GatewayTls
) -> None:
    assert TlsCertificates(settings).context.minimum_version == ssl.TLSVersion.TLSv1_2
    context = authority.client(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ConnectionLost):
        echo(gateway.peer(tls=context))


def test_plain_text_to_a_tls_port_is_closed(gateway: RunningGateway) -> None:
    with nothing_left_behind(gateway), RawPeer(gateway.port) as peer:
        peer.send(pdu(RQ, associate_body()))
        assert peer.read_pdu()[0] in (0, 0x15)


def test_silent_handshakes_do_not_stand_in_the_way(
    tmp_path: Path, authority: Authority, settings: GatewayTls
) -> None:
    """H26, H25: who waited for one of these to end would wait for an hour."""
    limits = AssociationLimits(request_timeout_s=3600.0)
    with (
        running_gateway(tmp_path, limits, tls=settings.model_dump()) as gateway,
        RawPeer(gateway.port),
        RawPeer(gateway.port) as slow,
    ):
        slow.send(CLIENT_HELLO[:5])
        assert echo(gateway.peer(tls=authority.client(authority))) == 0


def test_silent_handshakes_do_not_last(tmp_path: Path, settings: GatewayTls) -> None:
    """H26, H25: nothing at all, and a ClientHello that comes a byte at a time."""
    limits = AssociationLimits(request_timeout_s=1.0)
    with (
        running_gateway(tmp_path, limits, tls=settings.model_dump()) as gateway,
        nothing_left_behind(gateway),
        RawPeer(gateway.port) as silent,
    ):
        # All of it would take four minutes.
        with RawPeer(gateway.port) as slow, pytest.raises(OSError):
            for byte in CLIENT_HELLO:
                slow.send(bytes((byte,)))
                time.sleep(0.5)
        assert silent.read_pdu() == (0, b"")


def test_plain_text_after_the_handshake_ends_the_connection(
    gateway: RunningGateway, authority: Authority
) -> None:
    """H27."""
    tls = authority.client(authority)
    with nothing_left_behind(gateway), RawPeer(gateway.port, tls=tls) as peer:
        send_beneath_tls(peer, pdu(RQ, associate_body()))


def test_a_reload_serves_the_new_certificate_and_keeps_the_old_where_it_fails(
    tmp_path: Path, authority: Authority
) -> None:
    certificate_file, key_file = authority.issue("gateway2")
    tls = {
        "certificate_file": certificate_file,
        "key_file": key_file,
        "client_ca_file": authority.ca_file,
    }
    with running_gateway(tmp_path / "spool", tls=tls) as gateway:
        client = authority.client(authority)
        other = Authority.create(tmp_path / "other")
        new_certificate, new_key = other.issue("gateway2")
        with RawPeer(gateway.port):  # a connection under way is not dropped
            certificate_file.write_bytes(b"nonsense")
            gateway.receiver.reload_certificates()
            assert "NOT reloaded" in gateway.receiver.readiness().reason
            assert echo(gateway.peer(tls=client)) == 0
            certificate_file.write_bytes(new_certificate.read_bytes())
            key_file.write_bytes(new_key.read_bytes())
            gateway.receiver.reload_certificates()
        assert "NOT reloaded" not in gateway.receiver.readiness().reason
        with pytest.raises(ConnectionLost):
            echo(gateway.peer(tls=client))
        assert echo(gateway.peer(tls=other.client(authority))) == 0


def test_files_that_do_not_load_stop_the_start(tmp_path: Path, authority: Authority) -> None:
    certificate_file, _ = authority.issue("gateway3")
    tls = GatewayTls(
        certificate_file=certificate_file,
        key_file=tmp_path / "missing.key",
        client_ca_file=authority.ca_file,
    )
    with pytest.raises(FatalError, match="key_file"):
        TlsCertificates(tls)
