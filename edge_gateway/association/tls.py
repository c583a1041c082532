"""TLS of the DICOM port and of our own calls (PS3.15 B.12: BCP 195 with RFC 8996 and RFC 9325).

Invariant: never below 1.2, forward secrecy always; a reload changes new connections only and
never leaves the port without TLS: files that do not load keep the former ones in force.
"""

from __future__ import annotations

import functools
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.failures import FatalError
from infra.settings_tls import GatewayTls

if TYPE_CHECKING:
    from infra.certificates import CertificateFacts

# Those for TLS 1.2; 1.3 has nothing weaker. RFC 9325 4.1 advises against finite-field DHE. Level
# 2 wants RSA of 2048 bits, curves of 224 and no SHA-1, for the certificates on both sides too.
TLS_1_2_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
# A sender that opens one association after the other uses one; OpenSSL would send two.
_TICKETS = 1
# RFC 9325 3.4: keys of session tickets are renewed regularly; a new context has new ones.
TICKET_KEY_AGE_S = 24 * 3600.0
# A site's modalities come back with the same ones: 0.3 ms less at each association.
CERTIFICATES_REMEMBERED_MAX = 256


@dataclass(frozen=True, slots=True)
class TlsClient:
    """The files with which we call a peer. None: the system's authorities, no certificate."""

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class _Loaded:
    context: ssl.SSLContext
    own: CertificateFacts
    expires: Mapping[str, datetime]
    loaded_s: float


class TlsCertificates:
    """The context for new connections, replaced as a whole by `reload`; safe from any thread."""

    def __init__(self, tls: GatewayTls) -> None:
        self._tls = tls
        self._lock = threading.Lock()
        self._stamp = _stamp(tls)
        self._loaded = _load(tls)

    @property
    def context(self) -> ssl.SSLContext:
        """What the next connection is wrapped with."""
        return self._loaded.context

    @property
    def expires(self) -> Mapping[str, datetime]:
        """When what is in force ends, by the setting that names the file."""
        return self._loaded.expires

    @property
    def age_s(self) -> float:
        """How long the context and its ticket keys have been in use."""
        return time.monotonic() - self._loaded.loaded_s

    def files_stamp(self) -> tuple[tuple[int, ...] | None, ...]:
        """Changes when one of the files does."""
        return _stamp(self._tls)

    @property
    def loaded_stamp(self) -> tuple[tuple[int, ...] | None, ...]:
        """The stamp of the files as the last `reload` met them, whether it took them or not."""
        return self._stamp

    def reload(self) -> None:
        """Reads the files again. Raises FatalError and changes nothing where they do not load.

        Tickets given out before are not taken any more: who was let in by them is asked again.
        """
        with self._lock:
            self._stamp = _stamp(self._tls)
            fresh = _load(self._tls)
            now = datetime.now(UTC)
            if not fresh.own.is_valid_at(now) and self._loaded.own.is_valid_at(now):
                raise FatalError(
                    f"{self._tls.certificate_file} holds from {fresh.own.not_before:%F %TZ} "
                    f"to {fresh.own.not_after:%F %TZ}",
                    "put a certificate there that is valid now",
                )
            self._loaded = fresh


def client_context(tls: TlsClient) -> ssl.SSLContext:
    """A context for our calls, which verifies the peer and its name. Raises FatalError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context)
    try:
        if tls.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(tls.ca_file)
        if tls.certificate_file is not None:
            context.load_cert_chain(tls.certificate_file, tls.key_file, password=no_password)
    except (OSError, ValueError) as cause:  # ssl.SSLError is an OSError
        raise FatalError(
            f"loading the TLS files of a call: {cause}",
            "name unencrypted PEM files: the peer's authority, our certificate and its key",
        ) from cause
    return context


@functools.lru_cache(maxsize=CERTIFICATES_REMEMBERED_MAX)
def identities_of(der: bytes | None) -> frozenset[str]:
    """What a verified client certificate may be named by; nothing without one or unreadable."""
    if der is None:
        return frozenset()
    from infra.certificates import describe

    try:
        return describe(der).identities
    except ValueError:
        return frozenset()


def _load(tls: GatewayTls) -> _Loaded:
    # Not above: 11 MB and 45 ms that a gateway on loopback in plain text need not pay.
    from infra.certificates import first_to_expire, read_certificates

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    context.num_tickets = _TICKETS
    try:
        context.load_cert_chain(tls.certificate_file, tls.key_file, password=no_password)
        if tls.client_ca_file is not None:
            context.load_verify_locations(tls.client_ca_file)
    except (OSError, ssl.SSLError, ValueError) as cause:
        raise FatalError(
            f"loading the TLS files of the DICOM port: {cause}",
            "correct certificate_file, key_file and client_ca_file",
        ) from cause
    chain = read_certificates(tls.certificate_file)
    expires = {"certificate_file": first_to_expire(chain).not_after}
    if tls.client_ca_file is not None:
        context.verify_mode = (
            ssl.CERT_REQUIRED if tls.require_client_certificate else ssl.CERT_OPTIONAL
        )
        authorities = read_certificates(tls.client_ca_file)
        expires["client_ca_file"] = first_to_expire(authorities).not_after
    return _Loaded(context, chain[0], expires, time.monotonic())


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(TLS_1_2_CIPHERS)


def no_password() -> str:
    """Refuses an encrypted key: OpenSSL would ask on the terminal, and the process would wait."""
    raise ValueError("the key is encrypted, and no setting holds a password for it")


def _stamp(tls: GatewayTls) -> tuple[tuple[int, ...] | None, ...]:
    files = (tls.certificate_file, tls.key_file, tls.client_ca_file)
    return tuple(_file_stamp(file) for file in files if file is not None)


def _file_stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
