"""Reading packs: the locator at the end, the manifest, and the members by their tar headers.

Invariant: nothing is believed that a hash or a tar header does not confirm; reads go through a
function of offset and length, so a file and ranges of an object are the same here.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import fastavro
import orjson

from contracts import ustar
from contracts.codec import from_plain
from contracts.events import InstanceReceived, PackMember
from contracts.packs import (
    FORMAT_VERSION,
    LOCATOR_BYTES,
    LOCATOR_NAME,
    LOCATOR_TAIL_BYTES,
    MANIFEST_NAME,
    MEMBER_SUFFIX,
    MEMBERS_MAX,
)
from contracts.schema_catalog import newest

# 4,000 headers of 16 MiB plain at most, compressed; beyond it no pack of ours goes.
MANIFEST_BYTES_MAX = 1024 * 1024 * 1024

ReadRange = Callable[[int, int], bytes]  # (offset_bytes, length_bytes) -> exactly these bytes


class PackFormatError(ValueError):
    """Bytes that are no pack, or a pack that contradicts itself."""


@dataclass(frozen=True, slots=True)
class Locator:
    """Where a pack's manifest is, and its hash."""

    manifest_offset_bytes: int
    manifest_length_bytes: int
    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class TarEntry:
    """A member of the tar: `offset_bytes` is where its content begins."""

    name: str
    offset_bytes: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class PackContents:
    """What a pack says of itself: one event and one place for each member, in the same order."""

    events: tuple[InstanceReceived, ...]
    members: tuple[PackMember, ...]


def read_pack(read: ReadRange, size_bytes: int) -> PackContents:
    """Manifest and members of the pack of `size_bytes` behind `read`.

    The manifest's hash and every tar header are checked; the members' bytes are not read. Raises
    PackFormatError, and whatever `read` raises.
    """
    if size_bytes < LOCATOR_TAIL_BYTES:
        raise PackFormatError(f"{size_bytes} bytes are no pack")
    locator = parse_locator(read(size_bytes - LOCATOR_TAIL_BYTES, LOCATOR_TAIL_BYTES))
    if locator.manifest_offset_bytes + locator.manifest_length_bytes > size_bytes:
        raise PackFormatError("the locator points beyond the pack's end")
    manifest = read(locator.manifest_offset_bytes, locator.manifest_length_bytes)
    events = parse_manifest(manifest, locator)
    return PackContents(events, locate_members(events, list(walk(read, size_bytes))))


def parse_locator(tail: bytes) -> Locator:
    """The locator in a pack's last LOCATOR_TAIL_BYTES. Raises PackFormatError."""
    if len(tail) != LOCATOR_TAIL_BYTES or tail[LOCATOR_BYTES:] != bytes(ustar.END_BYTES):
        raise PackFormatError("a pack ends with its locator and 1,024 zero bytes")
    try:
        fields = orjson.loads(tail[:LOCATOR_BYTES])
        version = fields["format_version"]
        locator = Locator(
            int(fields["manifest_offset_bytes"]),
            int(fields["manifest_length_bytes"]),
            str(fields["manifest_sha256"]),
        )
    except (ValueError, TypeError, KeyError) as cause:
        raise PackFormatError("the locator is unreadable") from cause
    if version != FORMAT_VERSION:
        raise PackFormatError(f"pack format {version}, this version reads {FORMAT_VERSION}")
    if not 0 <= locator.manifest_length_bytes <= MANIFEST_BYTES_MAX:
        raise PackFormatError(f"a manifest of {locator.manifest_length_bytes} bytes")
    if locator.manifest_offset_bytes < ustar.BLOCK_BYTES:
        raise PackFormatError("a manifest before the first member")
    return locator


def parse_manifest(data: bytes, locator: Locator) -> tuple[InstanceReceived, ...]:
    """The members' events, in the members' order. Raises PackFormatError."""
    if hashlib.sha256(data).hexdigest() != locator.manifest_sha256:
        raise PackFormatError("the manifest's sha256 differs from the locator's")
    try:
        plain = fastavro.reader(io.BytesIO(data), newest(InstanceReceived).parsed)
        events = tuple(
            from_plain(cast(dict[str, Any], record), InstanceReceived) for record in plain
        )
    except (ValueError, TypeError, KeyError, IndexError, EOFError) as cause:
        raise PackFormatError(f"the manifest does not decode: {type(cause).__name__}") from cause
    if not 1 <= len(events) <= MEMBERS_MAX:
        raise PackFormatError(f"a manifest of {len(events)} members")
    return events


def walk(read: ReadRange, size_bytes: int) -> Iterator[TarEntry]:
    """Every tar member by its header, without reading contents. Raises PackFormatError."""
    offset = 0
    while offset + ustar.BLOCK_BYTES <= size_bytes:
        try:
            header = ustar.parse_header(read(offset, ustar.BLOCK_BYTES))
        except ValueError as cause:
            raise PackFormatError(f"at offset {offset}: {cause}") from cause
        if header is None:
            return
        start = offset + ustar.BLOCK_BYTES
        yield TarEntry(header.name, start, header.size_bytes)
        offset = start + header.size_bytes + ustar.padding(header.size_bytes)
    raise PackFormatError("the archive has no end")


def locate_members(
    events: Sequence[InstanceReceived], entries: Sequence[TarEntry]
) -> tuple[PackMember, ...]:
    """Each event's place. Raises PackFormatError unless both tell of the same members."""
    names = [event.delivery_id + MEMBER_SUFFIX for event in events]
    if [entry.name for entry in entries] != [*names, MANIFEST_NAME, LOCATOR_NAME]:
        raise PackFormatError("the manifest and the tar headers name other members")
    return tuple(
        PackMember(
            event.content,
            event.delivery_id,
            event.gateway_id,
            entry.offset_bytes,
            entry.length_bytes,
        )
        for event, entry in zip(events, entries, strict=False)
    )
