"""`hilum doctor --peer AET`: what to type into one modality, and what the gateway says of it.

Invariant: every value comes from the settings and from the code that enforces it; nothing is
admitted by asking.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.failures import FatalError
from edge_gateway.admission import ANY
from edge_gateway.association.contexts import LAST_CHOICE_SYNTAXES
from edge_gateway.receive import association_limits, spool_limits
from edge_gateway.scu import Peer
from infra.settings import GatewaySettings, Settings
from infra.settings_admission import AdmitRule
from operations.doctor_engines import reachable_host
from operations.doctor_processes import own_port_context, rules_for, try_echo
from operations.uid_names import uid_name

AE_TITLE_CHARACTERS_MAX = 16
NEAR_SHARE = 0.5
# A modality must wait longer than the gateway waits for its disk before it answers A700H.
RESPONSE_MARGIN_S = 30
LOCAL_ADDRESSES = ("127.0.0.1", "::1")
EXAMPLE_NETWORK = "192.0.2.0/24"


@dataclass(frozen=True, slots=True)
class ModalitySettings:
    """What is typed into the modality, and what holds for it at the gateway."""

    gateway: str
    calling_ae_title: str
    called_ae_title: str
    host: str
    port: int
    tls: str
    networks: tuple[str, ...]
    certificates: tuple[str, ...]
    associations_max: int
    on_mismatch: str
    transfer_syntaxes: str
    pdu_bytes_max: int
    association_timeout_s: float
    response_timeout_s: float
    idle_timeout_s: float
    storage_commitment: str


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """The keys of `hilum doctor --peer AET --json`.

    `settings` is empty where nobody of that name is admitted: `nearest` and `settings_lines` say
    what would change that. `ok`: admitted, and a C-ECHO as this AE title is answered where this
    machine may try it.
    """

    ok: bool
    ae_title: str
    settings: tuple[ModalitySettings, ...]
    echo: tuple[str, ...]
    nearest: tuple[str, ...]
    settings_lines: str


def examine_peer(settings: Settings, ae_title: str, gateway_name: str | None) -> PeerAnswer:
    """What one calling AE title needs to know, at one gateway or at all.

    Raises FatalError (no such gateway, no valid AE title).
    """
    title = ae_title.strip()
    is_plain = title.isascii() and title.isprintable() and "\\" not in title
    if not (is_plain and 0 < len(title) <= AE_TITLE_CHARACTERS_MAX):
        step = "1 to 16 ASCII characters, no backslash and no control character"
        raise FatalError(f"{ae_title!r} is no AE title", step)
    names = [gateway_name] if gateway_name else list(settings.gateways)
    gateways = {name: settings.gateway(name) for name in names}
    found = tuple(
        _modality_settings(name, title, gateway, rules)
        for name, gateway in gateways.items()
        if (rules := _rules_of(gateway, title))
    )
    if not found:
        nearest = tuple(_nearest(title, list(gateways.values())))
        return PeerAnswer(False, title, (), (), nearest, _settings_lines(names, title))
    echoes = [_echo(name, title, gateways[name]) for name in (f.gateway for f in found)]
    is_good = all(is_good for is_good, _ in echoes)
    return PeerAnswer(is_good, title, found, tuple(text for _, text in echoes), (), "")


def _rules_of(gateway: GatewaySettings, title: str) -> list[AdmitRule]:
    """The rules for this very AE title, else those for any."""
    own = [rule for rule in gateway.admit if rule.calling_ae_title.strip() == title]
    return own or [rule for rule in gateway.admit if rule.calling_ae_title.strip() == ANY]


def _modality_settings(
    name: str, title: str, gateway: GatewaySettings, rules: Sequence[AdmitRule]
) -> ModalitySettings:
    limits = association_limits(gateway)
    return ModalitySettings(
        gateway=name,
        calling_ae_title=title,
        called_ae_title=(rules[0].called_ae_title or gateway.ae_title).strip(),
        host=_host(gateway),
        port=gateway.dicom_port,
        tls=_tls(gateway),
        networks=tuple(str(rule.network) for rule in rules),
        certificates=tuple(str(entry) for rule in rules for entry in rule.certificate),
        associations_max=min(rules[0].associations_max, gateway.associations_max),
        on_mismatch=rules[0].mismatch,
        transfer_syntaxes=transfer_syntaxes_text(rules[0].transfer_syntaxes),
        pdu_bytes_max=limits.pdu_bytes_max,
        association_timeout_s=limits.request_timeout_s,
        response_timeout_s=spool_limits(gateway).commit_wait_ms / 1000 + RESPONSE_MARGIN_S,
        idle_timeout_s=limits.idle_timeout_s,
        storage_commitment=_commitment(gateway, title),
    )


def transfer_syntaxes_text(only: Sequence[str] = ()) -> str:
    """The rule of selection, in words; the names are those that the code treats apart."""
    if only:
        return f"these alone, stored as they are: {', '.join(map(uid_name, only))}"
    last = ", ".join(sorted(uid_name(uid) for uid in LAST_CHOICE_SYNTAXES))
    return (
        "any, stored as it is; the first that you propose is taken. Only where a context proposes "
        f"nothing else: {last}"
    )


def _host(gateway: GatewaySettings) -> str:
    if gateway.bind in ("0.0.0.0", "::"):
        return f"an address of this machine (the gateway listens on {gateway.bind})"
    return gateway.bind


def _tls(gateway: GatewaySettings) -> str:
    if gateway.tls is None:
        return "no: plain text"
    if gateway.tls.require_client_certificate:
        return "yes, 1.2 or 1.3, with a client certificate that the gateway's client CA signed"
    return "yes, 1.2 or 1.3, without a client certificate"


def _commitment(gateway: GatewaySettings, title: str) -> str:
    peer = gateway.commitment.peer(title)
    if peer is None:
        return "not for this AE title: leave it off at the modality"
    return f"yes ({peer.strength}); the report goes to {peer.host}:{peer.port}"


def _echo(name: str, title: str, gateway: GatewaySettings) -> tuple[bool, str]:
    """A C-ECHO to ourselves as this AE title, where that tells something."""
    host = reachable_host(gateway.bind)
    if not gateway.dicom_port:
        return False, f"{name}: port 0 in the settings; set dicom_port"
    if gateway.tls is not None and gateway.tls.require_client_certificate:
        return True, f"{name}: not tried: only the modality has its client certificate"
    own = next((a for a in (host, *LOCAL_ADDRESSES) if rules_for_host(gateway, title, a)), None)
    rules = rules_for_host(gateway, title, own) if own else []
    called = (rules[0].called_ae_title if rules else None) or gateway.ae_title
    tls = own_port_context() if gateway.tls is not None else None
    answer = try_echo(Peer(host, gateway.dicom_port, called.strip(), title, tls))
    if answer.is_answered:
        return True, f"{name}: {answer.text}"
    if not rules and answer.reject == (1, 1, 3):
        return True, f"{name}: listens; admitted from its networks only, not from this machine"
    return False, f"{name}: {answer.text}"


def rules_for_host(gateway: GatewaySettings, title: str, address: str) -> list[AdmitRule]:
    """`rules_for`, and none for what is a name and no address."""
    try:
        return rules_for(gateway, title, address)
    except ValueError:
        return []


def _nearest(title: str, gateways: Sequence[GatewaySettings]) -> list[str]:
    known = sorted({rule.calling_ae_title.strip() for g in gateways for rule in g.admit} - {ANY})
    by_folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(title.casefold(), by_folded, n=3, cutoff=NEAR_SHARE)
    return [by_folded[name] for name in near]


def _settings_lines(names: Sequence[str], title: str) -> str:
    """What to add, once for each gateway; the network is the documentation's own (RFC 5737)."""
    return "\n".join(
        f"[[gateways.{name}.admit]]\ncalling_ae_title = {json.dumps(title)}\n"
        f'network = "{EXAMPLE_NETWORK}"   # the modality\'s own\n'
        for name in names
    )
