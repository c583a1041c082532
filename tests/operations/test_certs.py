"""`hilum certs`: what it makes works and is never overwritten; what expires is told."""

from __future__ import annotations

import stat
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner

from contracts.failures import FatalError
from edge_gateway.scu import TlsClient, client_context, echo
from infra.certificate_names import certificate_identity
from infra.local_stack import local_stack_tree
from infra.settings import Settings, overlay, validate
from operations.certs import expiring, show
from operations.certs_lab import LabRequest, create_lab, issue_clients, settings_lines
from operations.cli import app
from operations.send import SendRequest, send, tls_client
from tests.edge_gateway.running_gateway import running_gateway


def lab_settings(directory: Path) -> Settings:
    """The local stack's settings with what `certs init` prints laid over them."""
    issued = create_lab(LabRequest(directory / "certs", ("north",), ("CT1",)))
    printed = tomllib.loads(settings_lines(issued, "127.0.0.0/8"))
    return validate(overlay(local_stack_tree(directory, 0), printed), "test")


def test_what_init_prints_makes_a_gateway_that_its_client_may_call(tmp_path: Path) -> None:
    gateway = lab_settings(tmp_path).gateway("north")
    assert gateway.tls is not None
    admit = [rule.model_dump() for rule in gateway.admit]
    certs = tmp_path / "certs"
    files = TlsClient(certs / "ca.pem", certs / "client-CT1.pem", certs / "client-CT1.key")
    with running_gateway(tmp_path / "spool", tls=gateway.tls.model_dump(), admit=admit) as running:
        assert echo(running.peer("CT1", tls=client_context(files))) == 0
        for host in ("localhost", "127.0.0.1"):
            to = f"NORTH@{host}:{running.port}"
            request = SendRequest((), to, "CT1", sample_slices=2, tls=files)
            report = send(None, request)  # type: ignore[arg-type]  # a remote needs no settings
            assert report.ok and report.acknowledged == 2


def test_keys_are_the_owners_alone_and_nothing_is_overwritten(tmp_path: Path) -> None:
    request = LabRequest(tmp_path / "certs", ("north", "south"), ("CT1",))
    issued = create_lab(request)
    files = sorted((tmp_path / "certs").iterdir())
    assert len(files) == 2 + 2 * len(issued)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    before = [path.read_bytes() for path in files]
    with pytest.raises(FatalError, match="not overwritten"):
        create_lab(request)
    with pytest.raises(FatalError, match="not overwritten"):
        issue_clients(tmp_path / "certs", ("CT2", "CT1"), 30)
    assert sorted((tmp_path / "certs").iterdir()) == files
    assert [path.read_bytes() for path in files] == before
    (more,) = issue_clients(tmp_path / "certs", ("CT2",), 30)
    assert show([more.certificate_file])[0].days_left == 29


@pytest.mark.parametrize(
    ("request_of", "match"),
    [
        (lambda d: LabRequest(d, ("../x",), ()), "name"),
        (lambda d: LabRequest(d, ("north",), (), hosts=("a b",)), "host"),
        (lambda d: LabRequest(d, ("north",), (), days=1000), "825"),
    ],
)
def test_wrong_wishes_leave_nothing(tmp_path: Path, request_of: object, match: str) -> None:
    assert callable(request_of)
    with pytest.raises(FatalError, match=match):
        create_lab(request_of(tmp_path / "certs"))
    assert not list(tmp_path.rglob("*.*"))


def test_findings_tell_what_expires_and_what_to_do(tmp_path: Path) -> None:
    settings = lab_settings(tmp_path)
    assert {found.level for found in expiring(settings)} == {"ok"}
    assert len(expiring(settings)) == 3
    now = datetime.now(UTC)
    soon = {f.setting: f for f in expiring(settings, now + timedelta(days=340))}
    assert soon["gateways.north.tls.certificate_file"].level == "warning"
    assert soon["gateways.north.tls.client_ca_file"].level == "ok"
    late = {f.setting: f for f in expiring(settings, now + timedelta(days=366))}
    expired = late["gateways.north.tls.certificate_file"]
    assert expired.level == "error" and "expired" in expired.seen and expired.next_step
    early = expiring(settings, now - timedelta(days=2))
    assert any("holds from" in found.seen for found in early)


def test_findings_tell_broken_files_and_open_keys(tmp_path: Path) -> None:
    settings = lab_settings(tmp_path)
    certs = tmp_path / "certs"
    (certs / "gateway-north.key").chmod(0o644)
    (found,) = [f for f in expiring(settings) if f.level != "ok"]
    assert found.level == "warning" and found.next_step.startswith("chmod 600")
    (certs / "ca.pem").write_text("no certificate")
    (certs / "gateway-north.key").unlink()
    levels = {f.setting.rsplit(".", 1)[1]: f.level for f in expiring(settings)}
    assert levels == {"certificate_file": "ok", "client_ca_file": "error", "key_file": "error"}


def test_the_commands_answer(tmp_path: Path) -> None:
    runner = CliRunner()
    directory = ["--dir", str(tmp_path / "certs")]
    made = runner.invoke(app, ["certs", "init", *directory, "--client", "CT1"])
    assert made.exit_code == 0, made.output
    assert tomllib.loads(made.stdout)["gateways"]["south"]["tls"]["key_file"].endswith("south.key")
    again = runner.invoke(app, ["certs", "init", *directory])
    assert again.exit_code == 78
    more = runner.invoke(app, ["certs", "issue", "MR 1", *directory, "--json"])
    assert more.exit_code == 0 and "client-MR_1.pem" in more.stdout
    shown = runner.invoke(app, ["certs", "show", str(tmp_path / "certs" / "client-CT1.pem")])
    assert shown.exit_code == 0 and "subject:CN=CT1" in shown.stdout


def test_a_certificate_without_its_key_is_told() -> None:
    with pytest.raises(FatalError, match="belong together"):
        tls_client(True, None, Path("client.pem"), None)
    assert tls_client(False, None, None, None) is None
    assert tls_client(True, None, None, None) == TlsClient()


def test_a_gateway_with_tls_is_not_sent_to_in_plain_text(tmp_path: Path) -> None:
    class Found:
        def settings(self) -> Settings:
            return lab_settings(tmp_path)

    with pytest.raises(FatalError, match="--ca"):
        send(Found(), SendRequest((), "north", "CT1", 1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("SHA256:" + "AB:" * 31 + "AB", "sha256:" + "ab" * 32),
        ("dns:CT1.Example", "dns:ct1.example"),
        ("ip:2001:DB8::01", "ip:2001:db8::1"),
        ("subject: CN=CT1, O=X\\, Y", "subject:CN=CT1,O=X\\, Y"),
    ],
)
def test_an_identity_has_one_form(written: str, meant: str) -> None:
    assert certificate_identity(written) == meant


@pytest.mark.parametrize("written", ["CT1", "dns:", "cn:CT1", "sha256:abc", "ip:host"])
def test_what_names_no_certificate_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        certificate_identity(written)


def test_an_encrypted_key_of_ours_is_refused_and_nobody_is_asked_for_its_password(
    tmp_path: Path,
) -> None:
    (client,) = create_lab(LabRequest(tmp_path, (), ("CT1",)))
    key = serialization.load_pem_private_key(client.key_file.read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    client.key_file.write_bytes(encrypted)
    with pytest.raises(FatalError, match="is encrypted"):
        client_context(TlsClient(client.ca_file, client.certificate_file, client.key_file))
