"""The objects of the custody proof: segments of leaves and signed roots, as bytes under keys.

Invariant: an object's key is its place (site and first position, or site and number) and nothing
else, so two writers that would go two ways meet at one key and only one of them gets it. Pure;
what does not parse is a ProofFormatError, whatever its bytes are.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote, unquote

import orjson
import zstandard

from contracts.proof_hashes import leaf_hash, next_link
from contracts.proof_signing import SigningKey, VerifyingKey

PREFIX = "proofs/"
FORMAT = 1
SEGMENT_LEAVES_MAX = 10_000
# Of a segment, unpacked: bytes that claim more are not read on.
SEGMENT_BYTES_MAX = 64 * 1024 * 1024
_LEVEL = 3
_LINK_HEX = 64
_CORRUPT = (ValueError, KeyError, TypeError, zstandard.ZstdError)


class ProofFormatError(Exception):
    """An object that is no segment, or no root."""


@dataclass(frozen=True, slots=True)
class SegmentHead:
    """The first line of a segment. `previous` is the chain before its first leaf, in hex."""

    format: int
    site: str
    first: int
    count: int
    previous: str
    written_at: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of leaves. `links` are what the object says of the chain after each; nothing is
    checked here."""

    head: SegmentHead
    leaves: tuple[bytes, ...]
    links: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RootBody:
    """What is signed: the leaves [first, first + count) of a site, and what was signed before.

    `previous_root` is the sha256 of the previous root's body, '' for the first.
    """

    format: int
    site: str
    number: int
    first: int
    count: int
    merkle_root: str
    chain: str
    previous_root: str
    signed_at: str
    key_id: str

    @property
    def end(self) -> int:
        """The position behind its last leaf."""
        return self.first + self.count

    def data(self) -> bytes:
        """The bytes that are signed: JSON with sorted keys and no spaces."""
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)


@dataclass(frozen=True, slots=True)
class Root:
    """A root as it is stored: the signed bytes themselves, and the signature."""

    body: RootBody
    data: bytes
    signature: bytes

    @property
    def sha256(self) -> str:
        """By which the next root names it."""
        return hashlib.sha256(self.data).hexdigest()

    def is_signed_by(self, keys: Sequence[VerifyingKey]) -> bool:
        """Whether one of the keys has the root's key id and has signed it."""
        return any(
            key.key_id == self.body.key_id and key.has_signed(self.data, self.signature)
            for key in keys
        )


def site_prefix(site: str) -> str:
    """Under which a site's proofs stand."""
    return f"{PREFIX}{quote(site, safe='')}/"


def segment_key(site: str, first: int) -> str:
    """The key of the segment that begins at a position."""
    return f"{site_prefix(site)}leaves/{first:016d}.zst"


def root_key(site: str, number: int) -> str:
    """The key of a site's root; numbers begin at 0."""
    return f"{site_prefix(site)}roots/{number:010d}.json"


def parse_key(key: str) -> tuple[str, str, int] | None:
    """Site, `leaves` or `roots`, and place of a key; None for a key that is none of ours."""
    parts = key.removeprefix(PREFIX).split("/")
    if not key.startswith(PREFIX) or len(parts) != 3:
        return None
    site, (number, _, _) = unquote(parts[0]), parts[2].partition(".")
    if not (number.isascii() and number.isdigit()):
        return None
    made = {"leaves": segment_key, "roots": root_key}.get(parts[1])
    return (site, parts[1], int(number)) if made and made(site, int(number)) == key else None


def encode_segment(head: SegmentHead, leaves: Sequence[bytes]) -> bytes:
    """The object of a run of leaves, each with the chain after it."""
    lines = [orjson.dumps(asdict(head), option=orjson.OPT_SORT_KEYS)]
    link = bytes.fromhex(head.previous)
    for leaf in leaves:
        link = next_link(link, leaf_hash(leaf))
        lines.append(link.hex().encode() + b" " + leaf)
    return zstandard.ZstdCompressor(level=_LEVEL).compress(b"\n".join(lines) + b"\n")


def decode_segment(data: bytes) -> Segment:
    """The segment in an object. Raises ProofFormatError."""
    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as reader:
            text = reader.read(SEGMENT_BYTES_MAX + 1)
        if len(text) > SEGMENT_BYTES_MAX or not text.endswith(b"\n"):
            raise ValueError("too long, or cut off")
        first, *lines = text[:-1].split(b"\n")
        head = SegmentHead(**orjson.loads(first))
        if any(line[_LINK_HEX : _LINK_HEX + 1] != b" " for line in lines):
            raise ValueError("not a link and a leaf")
        links = tuple(bytes.fromhex(line[:_LINK_HEX].decode("ascii")) for line in lines)
        leaves = tuple(line[_LINK_HEX + 1 :] for line in lines)
        if len(bytes.fromhex(head.previous)) != 32 or head.format != FORMAT:
            raise ValueError("not of this format")
    except _CORRUPT as cause:
        raise ProofFormatError("not a segment of leaves") from cause
    return Segment(head, leaves, links)


def sign_root(body: RootBody, key: SigningKey) -> bytes:
    """The object of a root."""
    data = body.data()
    stored = {"body": data.decode(), "signature": key.sign(data).hex()}
    return orjson.dumps(stored, option=orjson.OPT_SORT_KEYS)


def decode_root(data: bytes) -> Root:
    """The root in an object. Raises ProofFormatError."""
    try:
        stored: dict[str, Any] = orjson.loads(data)
        signed = stored["body"].encode()
        body = RootBody(**orjson.loads(signed))
        if body.format != FORMAT or body.data() != signed or not _are_counts(body):
            raise ValueError("not of this format")
        return Root(body, signed, bytes.fromhex(stored["signature"]))
    except (*_CORRUPT, AttributeError) as cause:
        raise ProofFormatError("not a signed root") from cause


def _are_counts(body: RootBody) -> bool:
    numbers = (body.number, body.first, body.count)
    return all(isinstance(number, int) and number >= 0 for number in numbers)
