"""Ed25519 signatures of the custody proof (RFC 8032).

Invariant: what is signed begins with words that no other use of the key signs. Pure: reading a
key's file is `infra.proof_key`'s.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SIGNED_PREFIX = b"hilum-proof/1 root\n"


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key by its 32 bytes; `key_id` is their sha256 in hex."""

    raw: bytes

    @property
    def key_id(self) -> str:
        """The name of the key in roots."""
        return hashlib.sha256(self.raw).hexdigest()

    def has_signed(self, data: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's over these bytes."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, SIGNED_PREFIX + data)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = VerifyingKey(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of a signature."""
        return self._key.sign(SIGNED_PREFIX + data)
