"""Who may associate, and how many: deny by default (02-gateway "Who may connect").

Invariant: an empty allow-list admits nobody; identity is judged before capacity, so a stranger
never learns whether we are full, and overload is never a permanent reject.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from contracts.failures import FatalError
from edge_gateway import status
from infra.settings import GatewaySettings
from infra.settings_admission import AdmitRule

ANY = "*"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a peer was turned away: what it is told, and what the audit line says."""

    reject: status.Reject
    reason: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """A place for one association; give it back with `Admission.leave`."""

    calling_ae_title: str
    rule: AdmitRule


@dataclass(frozen=True, slots=True)
class Capacity:
    """Whether the gateway as a whole takes new work; `reason` is for people."""

    is_accepting: bool
    reason: str


class Gate(Protocol):
    """Who lets an association in, and takes its place back: here or in another process."""

    def enter(
        self, calling: str, called: str, address: str, identities: frozenset[str] = frozenset()
    ) -> Admitted | Refusal:
        """As `Admission.enter`."""

    def leave(self, admitted: Admitted) -> None:
        """As `Admission.leave`."""


class Admission:
    """Judges (calling, called AE title, source address, certificate) and counts who is inside.

    Safe from any thread. `capacity` is asked at each association (the spool's watermark).
    """

    def __init__(self, gateway: GatewaySettings, capacity: Callable[[], Capacity]) -> None:
        self._gateway = gateway
        self._capacity = capacity
        self._lock = threading.Lock()
        self._active: Counter[str] = Counter()

    @property
    def active(self) -> int:
        """Associations inside now."""
        with self._lock:
            return self._active.total()

    def enter(
        self, calling: str, called: str, address: str, identities: frozenset[str] = frozenset()
    ) -> Admitted | Refusal:
        """A place, or the refusal. Titles are without padding; '' is no title and never admitted.

        `identities` are those of the verified client certificate, none without one. Unknown
        calling AE title or network, or another's certificate: 1/1/3. Wrong called AE title:
        1/1/7 (PS3.8 9.3.4).
        """
        callers = [rule for rule in self._gateway.admit if is_caller(rule, calling, address)]
        if not callers:
            return Refusal(status.UNKNOWN_CALLING, "no rule for this AE title and network")
        if self._is_bound(calling):
            # A rule for any AE title would let everybody in under this one's name.
            callers = [rule for rule in callers if rule.calling_ae_title.strip() != ANY]
        callers = [rule for rule in callers if _shows_certificate(rule, identities)]
        if not callers:
            reason = "certificate of another" if identities else "no client certificate"
            return Refusal(status.CERTIFICATE_MISMATCH, f"{reason}, for this AE title")
        rules = [rule for rule in callers if self._is_called(rule, called)]
        if not rules:
            return Refusal(status.UNKNOWN_CALLED, "not this gateway's AE title")
        # A rule for this very AE title speaks before the one for any.
        rule = min(rules, key=lambda candidate: candidate.calling_ae_title.strip() == ANY)
        return self._take_place(calling, rule)

    def leave(self, admitted: Admitted) -> None:
        """Gives the place back."""
        with self._lock:
            self._active[admitted.calling_ae_title] -= 1
            self._active += Counter()  # drops what fell to zero

    def _take_place(self, calling: str, rule: AdmitRule) -> Admitted | Refusal:
        capacity = self._capacity()
        if not capacity.is_accepting:
            return Refusal(status.LIMIT_EXCEEDED, capacity.reason)
        with self._lock:
            if self._active.total() >= self._gateway.associations_max:
                return Refusal(status.CONGESTION, "associations_max of the gateway reached")
            if self._active[calling] >= rule.associations_max:
                return Refusal(status.LIMIT_EXCEEDED, "associations_max of the AE title reached")
            self._active[calling] += 1
        return Admitted(calling, rule)

    def _is_bound(self, calling: str) -> bool:
        """Whether this very AE title belongs to a certificate, in whichever network."""
        return any(
            rule.certificate and rule.calling_ae_title.strip() == calling
            for rule in self._gateway.admit
        )

    def _is_called(self, rule: AdmitRule, called: str) -> bool:
        return called == (rule.called_ae_title or self._gateway.ae_title).strip()


def check_exposure(gateway: GatewaySettings) -> str:
    """How the port is exposed, in words for readyz.

    Raises FatalError where plain text would be spoken beyond loopback without the explicit
    setting: patient data would cross a network in clear by an oversight.
    """
    if gateway.tls is not None:
        if gateway.tls.require_client_certificate:
            return "TLS, client certificates required"
        if gateway.tls.client_ca_file is not None:
            return "TLS, client certificates checked where shown"
        return "TLS, NO CLIENT CERTIFICATES, by setting"
    if _is_loopback(gateway.bind):
        return "plain text on loopback"
    if not gateway.allow_plain_text_beyond_loopback:
        raise FatalError(
            f"binding {gateway.bind}: plain text beyond loopback",
            "set tls, or allow_plain_text_beyond_loopback = true explicitly",
        )
    return "PLAIN TEXT BEYOND LOOPBACK, by setting"


def peer_address(address: str) -> str:
    """The address without IPv6 scope, and as IPv4 where it is a mapped one."""
    parsed = ipaddress.ip_address(address.split("%", 1)[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


def _is_loopback(bind: str) -> bool:
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return bind == "localhost"


def is_caller(rule: AdmitRule, calling: str, address: str) -> bool:
    """Whether a rule is about this calling AE title from that address, any certificate aside."""
    if not calling or rule.calling_ae_title.strip() not in (ANY, calling):
        return False
    return ipaddress.ip_address(address) in rule.network


def _shows_certificate(rule: AdmitRule, identities: frozenset[str]) -> bool:
    return not rule.certificate or not identities.isdisjoint(rule.certificate)
