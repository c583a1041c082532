"""TLS of the DICOM port (PS3.15 B.12, BCP 195): 1.2 and 1.3, forward secrecy, client certificates.

Invariant: a reload changes new connections only and never leaves the port without TLS: files
that do not load keep the former ones in force.
"""

from __future__ import annotations

import ssl

from contracts.failures import FatalError
from infra.settings import GatewayTls

# TLS 1.2 only with an ephemeral key and authenticated encryption; 1.3 has nothing weaker.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"


class TlsCertificates:
    """The context for new connections, replaced as a whole by `reload`."""

    def __init__(self, tls: GatewayTls) -> None:
        self._tls = tls
        self.context = _load(tls)

    def reload(self) -> None:
        """Reads the files again. Raises FatalError and changes nothing where they do not load."""
        self.context = _load(self._tls)


def _load(tls: GatewayTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.set_ciphers(_CIPHERS)
        context.load_cert_chain(tls.certificate_file, tls.key_file)
        if tls.client_ca_file is not None:
            context.load_verify_locations(tls.client_ca_file)
    except (OSError, ssl.SSLError) as cause:
        raise FatalError(
            f"loading the TLS files of the DICOM port: {cause}",
            "correct certificate_file, key_file and client_ca_file",
        ) from cause
    if tls.require_client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
    return context
