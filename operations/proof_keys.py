"""Keys of the custody proof: made once, and never over another one.

Invariant: a private key is a new file for its owner only, and is printed nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from contracts.proof_signing import VerifyingKey
from infra.proof_key import new_key, signing_key, verifying_key
from infra.settings import Settings
from operations.certs_files import all_or_nothing, write_new


@dataclass(frozen=True, slots=True)
class MadeKey:
    """What `hilum proofs key init` made."""

    key_file: Path
    public_file: Path
    key_id: str


def make_key(path: Path) -> MadeKey:
    """Makes a private key at `path` and its public one beside it. Raises FatalError."""
    path = path.expanduser().absolute()
    public_file = path.with_name(f"{path.name}.pub")
    private, public = new_key()
    with all_or_nothing(path.parent) as written:
        write_new(path, private, written)
        write_new(public_file, public, written)
    return MadeKey(path, public_file, verifying_key(public_file).key_id)


def settings_key(settings: Settings) -> VerifyingKey:
    """The public half of the settings' key. Raises FatalError."""
    return signing_key(settings.proofs.key_file).public


def public_pem(key: VerifyingKey) -> str:
    """A public key as others read it."""
    loaded = Ed25519PublicKey.from_public_bytes(key.raw)
    return loaded.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
