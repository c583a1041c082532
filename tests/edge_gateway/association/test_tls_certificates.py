"""Client certificates bound to AE titles, tickets that resume, and renewal of the gateway's own."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from pydantic import ValidationError

from edge_gateway.association import CertificateWatch, TlsCertificates
from edge_gateway.association.connection import ConnectionLost
from edge_gateway.scu import AssociationRejected, TlsClient, client_context
from infra.certificates import read_certificates
from infra.settings_tls import GatewayTls
from load.hostile.raw_peer import AC, RJ, RawPeer, data_set, store_command
from operations.certs_lab import Issued, LabRequest, create_lab
from tests.edge_gateway.running_gateway import (
    RunningGateway,
    echo,
    eventually,
    gateway_settings,
    running_gateway,
)
from tests.edge_gateway.test_receive_process import ReceiveProcess

SUBJECT = "subject:CN={},O=Hilum laboratory"


def rule(calling: str, *certificate: str) -> dict[str, Any]:
    return {"calling_ae_title": calling, "network": "127.0.0.0/8", "certificate": certificate}


class Lab:
    """An authority with one gateway and two modalities."""

    def __init__(self, directory: Path, days: int = 90) -> None:
        issued = create_lab(LabRequest(directory, ("north",), ("CT1", "MR1"), days=days))
        self.issued: dict[str, Issued] = {one.name: one for one in issued}

    def gateway(self) -> GatewayTls:
        own = self.issued["north"]
        return GatewayTls(
            certificate_file=own.certificate_file,
            key_file=own.key_file,
            client_ca_file=own.ca_file,
        )

    def client(self, name: str | None) -> ssl.SSLContext:
        ca = self.issued["north"].ca_file
        if name is None:
            return client_context(TlsClient(ca))
        return client_context(
            TlsClient(ca, self.issued[name].certificate_file, self.issued[name].key_file)
        )

    def fingerprint(self, name: str) -> str:
        return "sha256:" + read_certificates(self.issued[name].certificate_file)[0].sha256


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab") / "certs")


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory, lab: Lab) -> Iterator[RunningGateway]:
    """CT1 is bound by subject, MR1 by fingerprint; anybody else with a certificate is let in."""
    rules = [
        rule("CT1", SUBJECT.format("CT1")),
        rule("MR1", lab.fingerprint("MR1")),
        rule("*"),
    ]
    spool = tmp_path_factory.mktemp("spool")
    with running_gateway(spool, tls=lab.gateway().model_dump(), admit=rules) as gateway:
        yield gateway


def refused(gateway: RunningGateway, calling: str, context: ssl.SSLContext) -> tuple[int, ...]:
    with pytest.raises(AssociationRejected) as caught:
        echo(gateway.peer(calling, tls=context))
    return caught.value.result, caught.value.source, caught.value.reason


def test_an_ae_title_is_admitted_with_its_own_certificate_only(
    bound: RunningGateway, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert echo(bound.peer("CT1", tls=lab.client("CT1"))) == 0
    assert echo(bound.peer("MR1", tls=lab.client("MR1"))) == 0
    assert refused(bound, "CT1", lab.client("MR1")) == (1, 1, 3)
    assert refused(bound, "MR1", lab.client("CT1")) == (1, 1, 3)
    # The rule for any AE title serves the others, and nobody under a bound one's name.
    assert echo(bound.peer("US1", tls=lab.client("CT1"))) == 0
    metrics = bound.receiver.metrics.registry
    labels = {"reason": "certificate-mismatch"}
    assert metrics.get_sample_value("hilum_association_rejected_total", labels) == 2
    told = next(x for x in "".join(capsys.readouterr()).splitlines() if "certificate-mismatch" in x)
    assert "CN=MR1" in told and "CT1" in told


def test_where_certificates_are_optional_a_bound_title_still_needs_its_own(
    tmp_path: Path, lab: Lab
) -> None:
    tls = lab.gateway().model_dump() | {"require_client_certificate": False}
    rules = [
        rule("CT1", SUBJECT.format("CT1")),
        rule("US1"),
    ]
    with running_gateway(tmp_path / "spool", tls=tls, admit=rules) as gateway:
        assert "where shown" in gateway.receiver.readiness().reason
        assert echo(gateway.peer("US1", tls=lab.client(None))) == 0
        assert echo(gateway.peer("CT1", tls=lab.client("CT1"))) == 0
        assert refused(gateway, "CT1", lab.client(None)) == (1, 1, 3)


def test_a_rule_that_no_gateway_could_check_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="client_ca_file"):
        gateway_settings(tmp_path, admit=[rule("CT1", "dns:ct1")])
    with pytest.raises(ValidationError, match="names no certificate"):
        gateway_settings(tmp_path, admit=[rule("CT1", "ct1")])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_keeps_the_certificate_it_began_with(
    bound: RunningGateway, lab: Lab, version: ssl.TLSVersion
) -> None:
    context = lab.client("CT1")
    context.maximum_version = version
    answers, session = [], None
    for calling in (b"CT1", b"CT1", b"MR1"):
        peer = _Resuming(bound.port, context, session)
        with peer:
            answers.append((peer.associate(calling=calling)[0], peer.tls.session_reused))
            session = peer.tls.session
    assert answers == [(AC, False), (AC, True), (RJ, True)]


class _Resuming(RawPeer):
    """A raw peer that shows the ticket of an earlier session."""

    def __init__(self, port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> None:
        super().__init__(port)
        self.tls = context.wrap_socket(self.socket, server_hostname="127.0.0.1", session=session)
        self.socket = self.tls


def test_only_suites_with_forward_secrecy_and_authenticated_encryption(lab: Lab) -> None:
    for context in (TlsCertificates(lab.gateway()).context, lab.client("CT1")):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        for suite in context.get_ciphers():
            is_1_2 = suite["protocol"] == "TLSv1.2"
            assert suite["aead"] and (not is_1_2 or suite["name"].startswith("ECDHE-")), suite


def test_files_that_change_are_taken_with_nothing_dropped(tmp_path: Path, lab: Lab) -> None:
    own = Lab(tmp_path / "own")
    with running_gateway(tmp_path / "spool", tls=own.gateway().model_dump()) as gateway:
        with RawPeer(gateway.port, tls=own.client("CT1")) as under_way:
            assert under_way.associate()[0] == AC
            for setting in ("certificate_file", "key_file", "client_ca_file"):
                renewed = getattr(lab.gateway(), setting).read_bytes()
                getattr(own.gateway(), setting).write_bytes(renewed)
            # The new authority is trusted, so the new files are in force.
            eventually(lambda: _answers(gateway, lab.client("CT1")))
            assert not _answers(gateway, own_client(own, lab))
            assert under_way.store(store_command(), data_set()) == 0
        assert "NOT reloaded" not in gateway.receiver.readiness().reason


def own_client(own: Lab, trusted: Lab) -> ssl.SSLContext:
    """The old authority's modality, which trusts the new one."""
    return client_context(
        TlsClient(
            trusted.issued["north"].ca_file,
            own.issued["CT1"].certificate_file,
            own.issued["CT1"].key_file,
        )
    )


def _answers(gateway: RunningGateway, context: ssl.SSLContext) -> bool:
    try:
        return echo(gateway.peer("CT1", tls=context)) == 0
    except ConnectionLost:
        return False


def test_a_broken_file_is_told_until_it_is_mended(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "certs")
    certificates = TlsCertificates(lab.gateway())
    watch = CertificateWatch(certificates, look_interval_s=0.02)
    watch.start()
    before, path = certificates.context, lab.gateway().certificate_file
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:200])
        eventually(lambda: "NOT reloaded" in watch.notes())
        assert certificates.context is before
        path.write_bytes(whole)
        eventually(lambda: watch.notes() == "")
        assert certificates.context is not before
        before = certificates.context
        watch.ask()
        eventually(lambda: certificates.context is not before)
    finally:
        watch.stop()


def test_a_certificate_that_is_over_does_not_replace_one_that_holds(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "certs", days=1)
    certificates = TlsCertificates(lab.gateway())
    watch = CertificateWatch(certificates)
    assert "certificate_file expires on" in watch.notes()
    own, before = lab.gateway(), certificates.context
    own.certificate_file.write_bytes(_expired(lab))
    watch.reload()
    assert "NOT reloaded" in watch.notes() and certificates.context is before


def _expired(lab: Lab) -> bytes:
    """The gateway's certificate with the same key, of a year ago."""
    own = lab.issued["north"]
    key = serialization.load_pem_private_key(own.key_file.read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    now, before = (
        datetime.now(UTC),
        x509.load_pem_x509_certificate(own.certificate_file.read_bytes()),
    )
    builder = x509.CertificateBuilder(before.issuer, before.subject, key.public_key())
    signed = (
        builder.serial_number(1)
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now - timedelta(days=35))
        .sign(key, hashes.SHA256())
    )
    return signed.public_bytes(serialization.Encoding.PEM)


def test_sighup_renews_in_the_running_process(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "certs")
    tls = {key: str(path) for key, path in lab.gateway().model_dump().items() if path is not True}
    process = ReceiveProcess(tmp_path, tls=tls)
    try:
        process.start()
        assert _told_expiry(process) == pytest.approx(_until(lab), abs=1)
        with RawPeer(process.port, tls=lab.client("CT1")) as under_way:
            assert under_way.associate()[0] == AC
            assert process.process is not None
            process.process.send_signal(signal.SIGHUP)
            eventually(lambda: "certificates reloaded" in process.log.read_text())
            assert under_way.store(store_command(), data_set()) == 0
        assert process.signal(signal.SIGTERM) == 0
    finally:
        process.end()


def _told_expiry(process: ReceiveProcess) -> float:
    wanted = 'hilum_certificate_expires_timestamp_seconds{certificate="certificate_file"}'
    lines = (process.get("metrics") or "").splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(wanted))


def _until(lab: Lab) -> float:
    return read_certificates(lab.gateway().certificate_file)[0].not_after.timestamp()
