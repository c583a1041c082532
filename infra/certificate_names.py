"""How the settings and the gateway write whom a certificate names: `kind:value`, in one form.

Invariant: two texts are equal exactly when they mean the same identity. Pure; it must not read a
certificate.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator

_SHA256 = re.compile(r"[0-9a-f]{64}")
# A comma that is no part of a value, with the spaces that people put beside it.
_SEPARATOR = re.compile(r"(?<!\\)\s*,\s*")


def certificate_identity(text: str) -> str:
    """`text` in its one form. Raises ValueError with what is expected."""
    kind, _, value = text.strip().partition(":")
    form = _FORMS.get(kind.lower())
    if form is None or not value.strip():
        kinds = ", ".join(_FORMS)
        raise ValueError(f"{text!r} names no certificate: write kind:value, kind one of {kinds}")
    return f"{kind.lower()}:{form(value.strip())}"


CertificateIdentity = Annotated[str, AfterValidator(certificate_identity)]


def _fingerprint(value: str) -> str:
    found = value.replace(":", "").lower()
    if not _SHA256.fullmatch(found):
        raise ValueError(f"sha256:{value}: a fingerprint is 64 hexadecimal digits")
    return found


def _address(value: str) -> str:
    return str(ipaddress.ip_address(value))


def _subject(value: str) -> str:
    return _SEPARATOR.sub(",", value)


_FORMS: dict[str, Callable[[str], str]] = {
    "sha256": _fingerprint,
    "subject": _subject,
    "dns": str.lower,
    "ip": _address,
    "uri": str,
    "email": str,
}
