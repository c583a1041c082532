"""DCMTK over TLS: its storescu and echoscu to our port, our sender to its storescp."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_gateway.association.connection import ConnectionLost
from edge_gateway.outgoing import OutgoingInstance, read_outgoing
from edge_gateway.scu import Peer, StoreScu, TlsClient, client_context
from infra.settings_tls import GatewayTls
from operations.certs_lab import Issued, LabRequest, create_lab
from operations.peers import find
from operations.ports import free_ports
from operations.synthetic import CtStudy
from tests.edge_gateway.running_gateway import RunningGateway, echo, eventually, running_gateway

TIMEOUT_S = 120


def need(program: str) -> str:
    """The peer's path; without it the test is skipped, and in CI it fails."""
    path = find(program)
    if path is None:
        assert os.environ.get("CI") != "true", f"{program} is not installed"
        pytest.skip(f"{program} is not installed: apt-get install dcmtk")
    return path


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Issued]:
    directory = tmp_path_factory.mktemp("lab") / "certs"
    made = create_lab(LabRequest(directory, ("north",), ("CT1", "MR1")))
    return {one.name: one for one in made}


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, issued: dict[str, Issued]
) -> Iterator[RunningGateway]:
    own = issued["north"]
    tls = GatewayTls(
        certificate_file=own.certificate_file, key_file=own.key_file, client_ca_file=own.ca_file
    )
    rule = {"calling_ae_title": "CT1", "network": "127.0.0.0/8"}
    rule |= {"certificate": [f"subject:{issued['CT1'].subject}"]}  # type: ignore[dict-item]
    spool = tmp_path_factory.mktemp("spool")
    with running_gateway(spool, tls=tls.model_dump(), admit=[rule]) as running:
        yield running


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(CtStudy(3, rows=64, seed=4).write(tmp_path_factory.mktemp("study")))


def options(own: Issued) -> list[str]:
    """DCMTK's options for calling or serving with this certificate."""
    return ["+tls", str(own.key_file), str(own.certificate_file), "+cf", str(own.ca_file)]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.mark.parametrize("profile", ["+py", "+px"])
def test_storescu_with_the_bound_certificate_stores(
    gateway: RunningGateway, issued: dict[str, Issued], files: list[Path], profile: str
) -> None:
    before = len(gateway.deliveries())
    named = ["-aet", "CT1", "-aec", "NORTH", "127.0.0.1", str(gateway.port)]
    ended = run(need("storescu"), "-v", profile, *options(issued["CT1"]), *named, *map(str, files))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(gateway.deliveries()) == before + len(files)


def test_echoscu_with_anothers_certificate_or_none_is_not_let_in(
    gateway: RunningGateway, issued: dict[str, Issued]
) -> None:
    named = ["-aet", "CT1", "-aec", "NORTH", "127.0.0.1", str(gateway.port)]
    own = run(need("echoscu"), *options(issued["CT1"]), *named)
    assert own.returncode == 0, own.stderr
    others = run(need("echoscu"), "-v", *options(issued["MR1"]), *named)
    assert others.returncode != 0 and "Calling AE Title Not Recognized" in others.stderr
    none = run(need("echoscu"), "+tla", "+cf", str(issued["CT1"].ca_file), *named)
    assert none.returncode != 0
    assert run(need("echoscu"), *named).returncode != 0


@contextmanager
def storescp(own: Issued, directory: Path) -> Iterator[int]:
    """DCMTK's receiver with TLS on a port of its own."""
    directory.mkdir()
    port = free_ports(1)[0]
    command = [need("storescp"), *options(own), "-od", str(directory), str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: process.poll() is not None or _listens(port))
            assert process.poll() is None
            yield port
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_our_sender_stores_to_storescp_and_verifies_it(
    tmp_path: Path, issued: dict[str, Issued], files: list[Path]
) -> None:
    own = issued["CT1"]
    context = client_context(TlsClient(own.ca_file, own.certificate_file, own.key_file))
    instances = [
        read for path in files if isinstance(read := read_outgoing(path), OutgoingInstance)
    ]
    with storescp(issued["north"], tmp_path / "taken") as port:
        peer = Peer("127.0.0.1", port, "STORESCP", "CT1", tls=context)
        assert StoreScu().send(instances, peer).is_complete
        assert len(list((tmp_path / "taken").iterdir())) == len(files)
        # The system's authorities know nothing of a lab's.
        stranger = Peer("127.0.0.1", port, "STORESCP", "CT1", tls=client_context(TlsClient()))
        with pytest.raises(ConnectionLost, match="peer's certificate"):
            echo(stranger)
