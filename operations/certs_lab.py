"""`hilum certs init` and `issue`: an authority of one's own for a laboratory, and what it signs.

Invariant: what it makes holds for what it was made for only: a gateway's name, or the calling AE
title of a modality. Not for a hospital, which has an authority already.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contracts.failures import FatalError
from operations.certs_files import all_or_nothing, file_name, write_new
from operations.stack_files import to_toml

ORGANISATION = "Hilum laboratory"
CA_DAYS = 3650
DAYS_MIN, DAYS_MAX, DAYS = 1, 825, 365
CERTIFICATES_MAX = 256
# Clocks of modalities are late; a certificate of this moment would not hold for them yet.
_CLOCK_SLACK = timedelta(hours=1)
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key, as files; `name` is the gateway or the calling AE title."""

    kind: str
    name: str
    certificate_file: Path
    key_file: Path
    ca_file: Path
    subject: str


@dataclass(frozen=True, slots=True)
class LabRequest:
    """What `init` makes: one certificate a gateway, valid for `hosts`, and one a client."""

    directory: Path
    gateways: tuple[str, ...]
    clients: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    days: int = DAYS


class LabAuthority:
    """The authority in a directory: `ca.pem` and `ca.key`."""

    def __init__(
        self, directory: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> None:
        self.directory = directory
        self._key = key
        self._certificate = certificate

    @classmethod
    def load(cls, directory: Path) -> LabAuthority:
        """The authority that `init` made. Raises FatalError where there is none."""
        try:
            key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
            certificate = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
        except (OSError, ValueError, TypeError) as cause:
            raise FatalError(
                f"reading the authority in {directory}: {cause}", "run `hilum certs init` first"
            ) from cause
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise FatalError(f"{directory} holds an authority of others", "name another directory")
        return cls(directory, key, certificate)

    def issue_client(self, ae_title: str, days: int, written: list[Path]) -> Issued:
        """A certificate for the modality with this calling AE title."""
        usages = (ExtendedKeyUsageOID.CLIENT_AUTH,)
        return self._issue("client", ae_title, (), (days, usages), written)

    def issue_gateway(
        self, name: str, hosts: tuple[str, ...], days: int, written: list[Path]
    ) -> Issued:
        """A certificate for a gateway that is called by one of `hosts`; it may call others too."""
        usages = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._issue("gateway", name, hosts, (days, usages), written)

    def _issue(
        self,
        kind: str,
        name: str,
        hosts: tuple[str, ...],
        terms: tuple[int, tuple[x509.ObjectIdentifier, ...]],
        written: list[Path],
    ) -> Issued:
        days, usages = terms
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(name)
        builder = (
            _unsigned(subject, self._certificate.subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        stem = f"{kind}-{file_name(name)}"
        files = self.directory / f"{stem}.pem", self.directory / f"{stem}.key"
        write_new(files[1], _key_pem(key), written)
        write_new(files[0], _pem(builder.sign(self._key, hashes.SHA256())), written)
        return Issued(kind, name, *files, self.directory / "ca.pem", subject.rfc4514_string())


def create_lab(request: LabRequest) -> tuple[Issued, ...]:
    """Makes the authority and all certificates of the request.

    Raises FatalError and leaves nothing: a file that exists, a name that is none, a directory
    that cannot be written.
    """
    _check(request.days, (*request.gateways, *request.clients))
    hosts = tuple(dict.fromkeys((*local_hosts(), *request.hosts)))
    with all_or_nothing(request.directory) as written:
        authority = _create_authority(request.directory, written)
        return (
            *(authority.issue_gateway(g, hosts, request.days, written) for g in request.gateways),
            *(authority.issue_client(c, request.days, written) for c in request.clients),
        )


def issue_clients(directory: Path, ae_titles: tuple[str, ...], days: int) -> tuple[Issued, ...]:
    """Certificates for more modalities, by the authority that is there. Raises FatalError."""
    _check(days, ae_titles)
    authority = LabAuthority.load(directory)
    with all_or_nothing(directory) as written:
        return tuple(authority.issue_client(title, days, written) for title in ae_titles)


def settings_lines(issued: tuple[Issued, ...], network: str) -> str:
    """The settings for what was issued, as TOML: TLS and rules of each gateway.

    Each client is bound to its certificate. Without a gateway among them: the rules alone.
    """
    rules = [
        {
            "calling_ae_title": one.name,
            "network": network,
            "certificate": [f"subject:{one.subject}"],
        }
        for one in issued
        if one.kind == "client"
    ]
    gateways = {
        one.name: {
            "admit": rules,
            "tls": {
                "certificate_file": str(one.certificate_file),
                "key_file": str(one.key_file),
                "client_ca_file": str(one.ca_file),
            },
        }
        for one in issued
        if one.kind == "gateway"
    }
    return to_toml({"gateways": gateways} if gateways else {"admit": rules})


def local_hosts() -> tuple[str, ...]:
    """By what this machine may be called: its name, and loopback."""
    name = socket.gethostname()
    return (*((name,) if _HOST_NAME.fullmatch(name) else ()), "localhost", "127.0.0.1", "::1")


def _create_authority(directory: Path, written: list[Path]) -> LabAuthority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject("Hilum laboratory authority")
    certificate = (
        _unsigned(name, name, key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_new(directory / "ca.key", _key_pem(key), written)
    write_new(directory / "ca.pem", _pem(certificate), written)
    return LabAuthority(directory, key, certificate)


def _check(days: int, names: tuple[str, ...]) -> None:
    if not DAYS_MIN <= days <= DAYS_MAX:
        raise FatalError(f"{days} days", f"give {DAYS_MIN} to {DAYS_MAX}")
    if len(names) > CERTIFICATES_MAX:
        raise FatalError(f"{len(names)} certificates at once", f"{CERTIFICATES_MAX} at most")
    for name in names:
        file_name(name)


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, name.strip()),
        ]
    )


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(host):
        raise FatalError(f"{host!r} is no host name or address", "name what peers call it by")
    return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
