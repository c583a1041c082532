"""The gateways, their DICOM ports, the consumers and the configured peers, each asked itself.

Invariant: what a process says of itself is shown as it says it; a C-ECHO is all that is sent.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

from consumers.catalog import CATALOG
from contracts.failures import FatalError
from edge_gateway.admission import ANY, check_exposure, is_caller
from edge_gateway.association.connection import ConnectionLost
from edge_gateway.association.pdu import ProtocolError
from edge_gateway.scu import AssociationRejected, Peer, TlsClient, client_context, echo
from infra.engines.program import Probe
from infra.settings import GatewaySettings, Settings
from infra.settings_admission import AdmitRule
from infra.settings_commitment import CommitmentPeer
from infra.settings_tls import GatewayTls
from operations.doctor_engines import reachable_host
from operations.findings import Check, Finding, Verdict, judge
from operations.stack_programs import gateway_processes

ECHO_TIMEOUT_S = 5.0
# Who we say we are where a rule admits any AE title.
CALLING = "HILUM-DOCTOR"


@dataclass(frozen=True, slots=True)
class Echoed:
    """How a C-ECHO went: its status, or the reject, or the problem in words."""

    status: int | None
    elapsed_ms: float
    problem: str = ""
    reject: tuple[int, int, int] | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the peer answered with success."""
        return self.status == 0

    @property
    def text(self) -> str:
        """For people."""
        if self.status is None:
            return self.problem
        return f"C-ECHO answered {self.status:04X}H in {self.elapsed_ms:.0f} ms"


def process_checks(settings: Settings, up_command: str) -> list[Check]:
    """The checks of every process and peer that the settings name."""
    checks = []
    for name, gateway in settings.gateways.items():
        for process, _, port in gateway_processes(name, gateway):
            checks.append(_ready_check(process.replace("-", " ", 1), port, up_command))
        checks.append(_port_check(name, gateway, up_command))
    for spec in CATALOG:
        port = settings.consumer(spec.name).http_port
        checks.append(_ready_check(f"consumer {spec.name}", port, up_command))
    if settings.packs.is_asked_for:
        checks.append(_ready_check("pack-keeper", settings.packs.http_port, up_command))
    return checks + _peer_checks(settings)


def try_echo(peer: Peer) -> Echoed:
    """A C-ECHO that ends within a few ECHO_TIMEOUT_S, whatever the peer does. Never raises."""
    started_s = time.monotonic()
    try:
        status = echo(peer, ECHO_TIMEOUT_S)
    except AssociationRejected as rejected:
        reject = (rejected.result, rejected.source, rejected.reason)
        return Echoed(None, 0.0, str(rejected), reject)
    except (ConnectionLost, ProtocolError, OSError, ValueError) as problem:
        return Echoed(None, 0.0, str(problem) or type(problem).__name__)
    except StopIteration:
        return Echoed(None, 0.0, "the peer does not accept Verification")
    return Echoed(status, (time.monotonic() - started_s) * 1000)


def rules_for(gateway: GatewaySettings, calling: str, address: str) -> list[AdmitRule]:
    """The rules that let this calling AE title in from that address, any certificate aside."""
    return [rule for rule in gateway.admit if is_caller(rule, calling, address)]


def own_port_context() -> ssl.SSLContext:
    """For a call to our own port on this machine: whom the modalities believe is not judged."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _ready_check(subject: str, port: int, up_command: str) -> Check:
    expected = f"ready on port {port}"

    def ask() -> Iterator[Finding]:
        if not port:
            wanted = ("a port of its own", "set http_port of this process in the settings")
            yield judge(subject, "readyz", "warning", "port 0: nobody can ask it", wanted)
            return
        answer = Probe("http", port, "/readyz").ask()
        seen = answer.reason or ("ready" if answer.is_ready else "not ready")
        wanted = (expected, f"{up_command}   (then ./hilum status)")
        yield judge(subject, "readyz", "ok" if answer.is_ready else "error", seen, wanted)

    return Check(subject, "readyz", expected, up_command, ask)


def _port_check(name: str, gateway: GatewaySettings, up_command: str) -> Check:
    subject = f"gateway {name}"
    expected = f"answers on {gateway.bind}:{gateway.dicom_port}"

    def ask() -> Iterator[Finding]:
        yield _exposure(name, gateway)
        yield _admits(name, gateway)
        if not gateway.dicom_port:
            wanted = ("a port that modalities know", f"set gateways.{name}.dicom_port")
            yield judge(subject, "C-ECHO", "warning", "port 0: any free one", wanted)
        elif gateway.tls is not None:
            yield _served_certificate(subject, gateway, gateway.tls, (expected, up_command))
        else:
            yield _echo(subject, gateway, (expected, up_command))

    return Check(subject, "C-ECHO", expected, up_command, ask)


def _exposure(name: str, gateway: GatewaySettings) -> Finding:
    wanted = (
        "TLS, or plain text on loopback only",
        f"set gateways.{name}.tls (certificate_file, key_file, client_ca_file)",
    )
    try:
        exposure = check_exposure(gateway)
    except FatalError as refused:
        wanted = (wanted[0], refused.next_step)
        return judge(f"gateway {name}", "exposure", "error", refused.problem, wanted)
    is_open = gateway.allow_plain_text_beyond_loopback and gateway.tls is None
    return judge(f"gateway {name}", "exposure", "warning" if is_open else "ok", exposure, wanted)


def _admits(name: str, gateway: GatewaySettings) -> Finding:
    rules = len(gateway.admit)
    wanted = ("at least one rule", f"./hilum doctor --peer AET --gateway {name}")
    seen = f"{rules} rule(s)" if rules else "nobody: admit is empty"
    return judge(f"gateway {name}", "admits", "ok" if rules else "warning", seen, wanted)


def _echo(subject: str, gateway: GatewaySettings, wanted: tuple[str, str]) -> Finding:
    host = reachable_host(gateway.bind)
    address = _address_of(host)
    rule = next((r for r in gateway.admit if ipaddress.ip_address(address) in r.network), None)
    calling = CALLING
    if rule is not None and rule.calling_ae_title.strip() != ANY:
        calling = rule.calling_ae_title.strip()
    called = (rule and rule.called_ae_title) or gateway.ae_title
    answer = try_echo(Peer(host, gateway.dicom_port, called, calling))
    if rule is None and answer.reject == (1, 1, 3):
        seen = "listens, and rejects this machine as the allow-list says"
        return judge(subject, "C-ECHO", "ok", seen, wanted)
    if answer.reject is not None and answer.reject[0] == 2:
        return judge(subject, "C-ECHO", "warning", answer.text, (wanted[0], "./hilum status"))
    seen = f"{answer.text} to {calling}" if answer.is_answered else answer.text
    return judge(subject, "C-ECHO", "ok" if answer.is_answered else "error", seen, wanted)


def _address_of(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return str(socket.getaddrinfo(host, None)[0][4][0])


def _served_certificate(
    subject: str, gateway: GatewaySettings, tls: GatewayTls, wanted: tuple[str, str]
) -> Finding:
    """The handshake, and whether the certificate on the port is the one in the file.

    Whom it is signed by is not judged: the modalities decide whom they believe.
    """
    # Not above: 45 ms that every other command would pay at its start.
    from infra.certificates import describe, read_certificates

    context = own_port_context()
    address = (reachable_host(gateway.bind), gateway.dicom_port)
    try:
        with (
            socket.create_connection(address, ECHO_TIMEOUT_S) as plain,
            context.wrap_socket(plain) as secured,
        ):
            served, version = secured.getpeercert(binary_form=True), secured.version()
    except OSError as problem:
        return judge(subject, "TLS", "error", str(problem), wanted)
    if describe(served or b"") != read_certificates(tls.certificate_file)[0]:
        seen = f"{version}, with another certificate than {tls.certificate_file}"
        fix = "kill -HUP the receive process (./hilum status names it): it reads the files again"
        return judge(subject, "TLS", "warning", seen, ("the certificate of the file", fix))
    return judge(subject, "TLS", "ok", f"{version}, with the certificate of the file", wanted)


def _peer_checks(settings: Settings) -> list[Check]:
    """Those who are told of storage commitment, where the settings say how to reach them."""
    return [
        _peer_check(name, gateway, peer)
        for name, gateway in settings.gateways.items()
        for peer in gateway.commitment.peers
        if peer.host is not None and peer.port is not None
    ]


def _peer_check(name: str, gateway: GatewaySettings, peer: CommitmentPeer) -> Check:
    subject = f"peer {peer.ae_title}"
    expected = f"answers {gateway.ae_title} on {peer.host}:{peer.port}"
    fix = f"nc -vz {peer.host} {peer.port}   (or correct gateways.{name}.commitment.peers)"

    def ask() -> Iterator[Finding]:
        tls = None
        if (files := peer.tls) is not None:
            own = files.certificate_file, files.key_file
            tls = client_context(TlsClient(files.ca_file, *own))
        address = (str(peer.host), int(peer.port or 0))
        answer = try_echo(Peer(*address, peer.ae_title, gateway.ae_title, tls))
        verdict: Verdict = "ok" if answer.is_answered else "error"
        yield judge(subject, "C-ECHO", verdict, answer.text, (expected, fix))

    return Check(subject, "C-ECHO", expected, fix, ask)
