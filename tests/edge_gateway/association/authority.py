"""A certificate authority of one test: what a gateway and its peers show each other."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.settings_tls import GatewayTls


@dataclass(frozen=True)
class Authority:
    """A certificate authority of one test, and where its files are."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    @classmethod
    def create(cls, folder: Path) -> Authority:
        folder.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        unsigned = _unsigned(name, name, key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        authority = cls(folder, key, unsigned.sign(key, hashes.SHA256()))
        authority.ca_file.write_bytes(_pem(authority.certificate))
        return authority

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key files for `name`, which is also the host 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = (
            _unsigned(subject, self.certificate.subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        certificate_file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate_file.write_bytes(_pem(certificate))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate_file, key_file

    def gateway_settings(self, name: str) -> GatewayTls:
        """Settings of a gateway that shows a certificate of ours and asks for one of ours."""
        certificate_file, key_file = self.issue(name)
        return GatewayTls(
            certificate_file=certificate_file, key_file=key_file, client_ca_file=self.ca_file
        )

    def client(self, issuer: Authority | None = None) -> ssl.SSLContext:
        """A client context that trusts this authority, with a certificate of `issuer`."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if issuer is not None:
            context.load_cert_chain(*issuer.issue("client"))
        return context


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
