"""Reads a pack whole, with one request, and holds every byte against what it promises.

Invariant: a pack without a fault has the sha256 that its key names, and each member's data set
has the sha256 of the pack's own manifest; nothing but the bytes is believed. No data set is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from contracts import ustar
from contracts.events import Area, InstanceReceived, PackMember
from contracts.pack_reading import (
    MANIFEST_BYTES_MAX,
    PackFormatError,
    TarEntry,
    locate_members,
    parse_locator,
    parse_manifest,
)
from contracts.packs import (
    LOCATOR_BYTES,
    LOCATOR_NAME,
    MANIFEST_NAME,
    MEMBER_SUFFIX,
    object_key,
)
from infra.seams import ObjectStore

PREAMBLE_BYTES = 132
GROUP_LENGTH_ELEMENT_BYTES = 12
# Everything of a Part-10 member up to the length of its group 2 (PS3.10 7.1).
HEAD_BYTES = PREAMBLE_BYTES + GROUP_LENGTH_ELEMENT_BYTES

Take = Callable[[memoryview], None]


@dataclass(frozen=True, slots=True)
class WholePack:
    """A pack as it was read: what is wrong with it, and what it holds if nothing is."""

    key: str
    size_bytes: int
    faults: tuple[str, ...]
    events: tuple[InstanceReceived, ...] = ()
    members: tuple[PackMember, ...] = ()

    @property
    def area(self) -> Area:
        """The area that the key names."""
        return Area(self.key.partition("/")[0])

    @property
    def object_sha256(self) -> str:
        """The sha256 that the key names."""
        return sha256_of_key(self.key)


def read_whole(store: ObjectStore, key: str) -> WholePack:
    """Reads and hashes all of a pack; what is not right with it is in `faults`.

    Raises KeyError (no such object), RetryableError.
    """
    return check_whole(key, store.open(key))


def check_whole(key: str, chunks: Iterable[bytes]) -> WholePack:
    """The same for bytes from anywhere."""
    stream = _HashedStream(chunks)
    try:
        parts = _parts(stream)
        locator = parse_locator(parts.locator + bytes(ustar.END_BYTES))
        events = parse_manifest(parts.manifest, locator)
        members = locate_members(events, parts.entries)
    except ValueError as cause:  # PackFormatError, and what a damaged header gives
        return WholePack(key, stream.position, (f"{key}: not readable as a pack ({cause})",))
    faults = list(_faults(key, stream.hexdigest(), events, parts.hashes))
    if faults:
        return WholePack(key, stream.position, tuple(faults))
    return WholePack(key, stream.position, (), events, members)


def data_set_offset(head: bytes) -> int:
    """Where the data set begins in a Part-10 member that begins with these HEAD_BYTES."""
    return HEAD_BYTES + int.from_bytes(head[HEAD_BYTES - 4 : HEAD_BYTES], "little")


def sha256_of_key(key: str) -> str:
    """The sha256 that a pack's key names."""
    return key.rpartition("/")[2].removesuffix(".tar")


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a tar says: its entries, the data sets' hashes by delivery, manifest and locator."""

    entries: list[TarEntry]
    hashes: dict[str, str]
    manifest: bytes
    locator: bytes


def _parts(stream: _HashedStream) -> _Parts:
    parts = _Parts([], {}, b"", b"")
    held: dict[str, bytes] = {MANIFEST_NAME: b"", LOCATOR_NAME: b""}
    limits = {MANIFEST_NAME: MANIFEST_BYTES_MAX, LOCATOR_NAME: LOCATOR_BYTES}
    while (header := ustar.parse_header(stream.read(ustar.BLOCK_BYTES))) is not None:
        name, size = header.name, header.size_bytes
        parts.entries.append(TarEntry(name, stream.position, size))
        if name.endswith(MEMBER_SUFFIX):
            parts.hashes[name.removesuffix(MEMBER_SUFFIX)] = _data_set_sha256(stream, size)
        elif size <= limits.get(name, -1):
            held[name] = stream.read(size)
        else:
            raise PackFormatError(f"an entry of {size} bytes that no pack has")
        stream.read(ustar.padding(size))
    if stream.rest() != bytes(ustar.END_BYTES - ustar.BLOCK_BYTES):
        raise PackFormatError("something follows the archive's end")
    return _Parts(parts.entries, parts.hashes, held[MANIFEST_NAME], held[LOCATOR_NAME])


def _data_set_sha256(stream: _HashedStream, member_bytes: int) -> str:
    start = stream.position
    data_set_at = data_set_offset(stream.read(min(HEAD_BYTES, member_bytes)))
    if data_set_at > member_bytes:
        raise PackFormatError(f"at offset {start}: no Part-10 member")
    stream.read(data_set_at - HEAD_BYTES)
    digest = hashlib.sha256()
    stream.pass_to(digest.update, member_bytes - data_set_at)
    return digest.hexdigest()


def _faults(
    key: str, sha256: str, events: Iterable[InstanceReceived], hashes: dict[str, str]
) -> Iterator[str]:
    area, _, _ = key.partition("/")
    if area not in set(Area) or object_key(Area(area), sha256) != key:
        yield f"{key}: the object's bytes are not those its key names"
    for event in events:
        if hashes.get(event.delivery_id) != event.content.content_sha256:
            yield f"{key}: member {event.delivery_id} has other bytes than its manifest says"


class _HashedStream:
    """An object's chunks, read forward, with the hash of everything that has passed."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self._digest = hashlib.sha256()
        self.position = 0

    def read(self, length_bytes: int) -> bytes:
        """Exactly so many bytes. Raises PackFormatError where the object ends before."""
        taken: list[bytes] = []
        self.pass_to(lambda part: taken.append(bytes(part)), length_bytes)
        return b"".join(taken)

    def rest(self) -> bytes:
        """The few bytes that are left; more than a block is none of ours."""
        found = bytes(self._rest)
        while len(found) <= ustar.BLOCK_BYTES and (chunk := next(self._chunks, None)) is not None:
            self._digest.update(chunk)
            found += chunk
        self._rest = memoryview(b"")
        self.position += len(found)
        return found

    def pass_to(self, take: Take, length_bytes: int) -> None:
        """Hands the next bytes on without joining them. Raises as `read` does."""
        while length_bytes:
            if not self._rest and not self._next_chunk():
                raise PackFormatError(f"the object ends at offset {self.position}")
            part = self._rest[:length_bytes]
            self._rest = self._rest[len(part) :]
            self.position += len(part)
            length_bytes -= len(part)
            take(part)

    def _next_chunk(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self._digest.update(chunk)
        self._rest = memoryview(chunk)
        return True

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
