"""X.509 certificates as facts: whom they name, how long they hold, what a rule may call them.

Invariant: an identity is written in one form only, so that what `hilum certs show` prints, what
the settings say and what a peer presents can be compared as text. Must not judge trust: a chain
is verified by TLS before anything here is believed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from contracts.failures import FatalError
from infra.certificate_names import certificate_identity

_UNREADABLE = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """One certificate. `subject` is RFC 4514 text, `names` the SAN with kinds (`dns:ct1.example`).

    `sha256` is the fingerprint of the DER bytes in lowercase hex.
    """

    subject: str
    names: tuple[str, ...]
    sha256: str
    not_before: datetime
    not_after: datetime

    @property
    def identities(self) -> frozenset[str]:
        """Everything that an admit rule's `certificate` may name it by."""
        own = {f"sha256:{self.sha256}", *self.names}
        if self.subject:
            own.add(certificate_identity(f"subject:{self.subject}"))
        return frozenset(own)

    def is_valid_at(self, moment: datetime) -> bool:
        """Whether `moment` lies in its validity."""
        return self.not_before <= moment <= self.not_after


def describe(der: bytes) -> CertificateFacts:
    """The facts of a certificate that TLS has verified; names that cannot be read are left out.

    Raises ValueError where it is no certificate at all.
    """
    certificate = x509.load_der_x509_certificate(der)
    return CertificateFacts(
        subject=_subject(certificate),
        names=_names(certificate),
        sha256=hashlib.sha256(der).hexdigest(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def read_certificates(path: Path) -> tuple[CertificateFacts, ...]:
    """The certificates of a PEM file in its order, at least one. Raises FatalError."""
    try:
        blocks = _PEM.findall(path.read_bytes())
        found = tuple(describe(_der(block)) for block in blocks)
    except OSError as cause:
        raise FatalError(
            f"reading the certificate {path}: {cause.strerror}", "name a readable PEM file"
        ) from cause
    except ValueError as cause:
        raise FatalError(
            f"reading the certificate {path}: {cause}", "name a file with a PEM certificate"
        ) from cause
    if not found:
        raise FatalError(
            f"reading the certificate {path}: no certificate in it", "name a PEM certificate"
        )
    return found


def first_to_expire(certificates: tuple[CertificateFacts, ...]) -> CertificateFacts:
    """The one that ends the chain's validity."""
    return min(certificates, key=lambda one: one.not_after)


def _der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def _subject(certificate: x509.Certificate) -> str:
    try:
        return certificate.subject.rfc4514_string()
    except _UNREADABLE:
        return ""


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return ()
    found = (
        *(f"dns:{name}" for name in names.get_values_for_type(x509.DNSName)),
        *(f"ip:{address}" for address in names.get_values_for_type(x509.IPAddress)),
        *(f"uri:{uri}" for uri in names.get_values_for_type(x509.UniformResourceIdentifier)),
        *(f"email:{address}" for address in names.get_values_for_type(x509.RFC822Name)),
    )
    return tuple(certificate_identity(name) for name in found if not name.endswith(":"))
