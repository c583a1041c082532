"""The certificates that the settings name: what they say, how long they hold, what to do.

Invariant: a look never raises for a file's state, it tells it; keys are tried and never shown.
"""

from __future__ import annotations

import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from contracts.failures import FatalError
from edge_gateway.association.certificate_watch import EXPIRY_WARNING
from edge_gateway.association.tls import no_password
from infra.settings import Settings
from infra.settings_tls import GatewayTls

if TYPE_CHECKING:
    from infra.certificates import CertificateFacts

_RENEW = "put a renewed one in its place; a running gateway takes it within seconds"


@dataclass(frozen=True, slots=True)
class CertificateFinding:
    """What is to be said of one file. `setting` is its key, `next_step` '' where all is well."""

    level: Literal["ok", "warning", "error"]
    setting: str
    file: str
    seen: str
    next_step: str


@dataclass(frozen=True, slots=True)
class CertificateShown:
    """One certificate of a file; `identities` can be copied into an admit rule's `certificate`."""

    file: str
    subject: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    days_left: int
    sha256: str
    identities: tuple[str, ...]


def expiring(settings: Settings, now: datetime | None = None) -> list[CertificateFinding]:
    """One finding or more for each certificate file and key that the settings name."""
    moment = now or datetime.now(UTC)
    found: list[CertificateFinding] = []
    for setting, path in certificate_files(settings):
        found += _judge_file(setting, path, moment)
    for name, gateway in settings.gateways.items():
        if gateway.tls is not None:
            found += _judge_key(f"gateways.{name}.tls.key_file", gateway.tls)
    return found


def show(paths: list[Path], now: datetime | None = None) -> list[CertificateShown]:
    """Every certificate of the files, in their order. Raises FatalError for an unreadable one."""
    moment = now or datetime.now(UTC)
    return [_shown(path, facts, moment) for path in paths for facts in _read(path)]


def certificate_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The key of each setting that names certificates, with its file."""
    for name, gateway in settings.gateways.items():
        if gateway.tls is not None:
            yield f"gateways.{name}.tls.certificate_file", gateway.tls.certificate_file
            if gateway.tls.client_ca_file is not None:
                yield f"gateways.{name}.tls.client_ca_file", gateway.tls.client_ca_file
    engines: list[tuple[str, Path | None]] = [
        ("kafka.ca_file", settings.kafka.ca_file),
        ("kafka.certificate_file", settings.kafka.certificate_file),
    ]
    for name, site in (("primary", settings.primary), ("dr", settings.dr)):
        engines.append((f"{name}.object_store.ca_file", site.object_store.ca_file))
        engines.append((f"{name}.clickhouse.ca_file", site.clickhouse.ca_file))
    yield from ((setting, path) for setting, path in engines if path is not None)


def _judge_file(setting: str, path: Path, now: datetime) -> list[CertificateFinding]:
    try:
        certificates = _read(path)
    except FatalError as failure:
        return [CertificateFinding("error", setting, str(path), failure.problem, failure.next_step)]
    return [_judge(setting, path, facts, now) for facts in certificates]


def _judge(setting: str, path: Path, facts: CertificateFacts, now: datetime) -> CertificateFinding:
    who = facts.subject or facts.sha256[:16]
    left = facts.not_after - now
    if now > facts.not_after:
        seen = f"{who} expired on {facts.not_after:%F}"
        return CertificateFinding("error", setting, str(path), seen, _RENEW)
    if now < facts.not_before:
        seen = f"{who} holds from {facts.not_before:%F %TZ} on only"
        step = "compare this machine's clock, or put a certificate there that holds now"
        return CertificateFinding("error", setting, str(path), seen, step)
    seen = f"{who} holds until {facts.not_after:%F}, {left.days} days"
    if left < EXPIRY_WARNING:
        return CertificateFinding("warning", setting, str(path), seen, _RENEW)
    return CertificateFinding("ok", setting, str(path), seen, "")


def _judge_key(setting: str, tls: GatewayTls) -> Iterator[CertificateFinding]:
    path = tls.key_file
    try:
        mode = path.stat().st_mode
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            tls.certificate_file, path, password=no_password
        )
    except (OSError, ValueError) as cause:  # ssl.SSLError is an OSError
        reason = getattr(cause, "reason", None) or getattr(cause, "strerror", None) or cause
        step = "name the unencrypted PEM key of certificate_file"
        yield CertificateFinding("error", setting, str(path), f"does not load: {reason}", step)
        return
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        seen = f"can be read or written by others (mode {stat.S_IMODE(mode):04o})"
        yield CertificateFinding("warning", setting, str(path), seen, f"chmod 600 {path}")
        return
    yield CertificateFinding("ok", setting, str(path), "fits its certificate, owner only", "")


def _read(path: Path) -> tuple[CertificateFacts, ...]:
    # Not above: 45 ms that every other command would pay at its start.
    from infra.certificates import read_certificates

    return read_certificates(path)


def _shown(path: Path, facts: CertificateFacts, now: datetime) -> CertificateShown:
    return CertificateShown(
        file=str(path),
        subject=facts.subject,
        names=facts.names,
        not_before=facts.not_before,
        not_after=facts.not_after,
        days_left=(facts.not_after - now).days,
        sha256=facts.sha256,
        identities=tuple(sorted(facts.identities)),
    )
