"""Files of the keys that sign custody proofs.

Invariant: a private key that others can read is not used; a text about a key never holds it.
"""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from contracts.failures import FatalError
from contracts.proof_signing import SigningKey, VerifyingKey

MAKE_ONE = "make one with `hilum proofs key init`, and name it in proofs.key_file"


def new_key() -> tuple[bytes, bytes]:
    """A new private key and its public one, as PEM."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private, public


def signing_key(path: Path | None) -> SigningKey:
    """The key in a file. Raises FatalError: none, not readable, no Ed25519 key, open to others."""
    if path is None:
        raise FatalError("signing custody proofs: no key is set", MAKE_ONE)
    data = _read(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise FatalError(f"the key {path} can be read by others", f"chmod 600 {path}")
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as cause:
        raise FatalError(f"{path} is no private key in PEM without a password", MAKE_ONE) from cause
    if not isinstance(key, Ed25519PrivateKey):
        raise FatalError(f"{path} is no Ed25519 key", MAKE_ONE)
    return SigningKey(key)


def verifying_key(path: Path) -> VerifyingKey:
    """The public key in a file. Raises FatalError."""
    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise FatalError(f"{path} is no public key in PEM", "name another file") from cause
    if not isinstance(key, Ed25519PublicKey):
        raise FatalError(f"{path} is no Ed25519 key", "name another file")
    return VerifyingKey(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise FatalError(f"reading the key {path}: {cause.strerror}", MAKE_ONE) from cause
