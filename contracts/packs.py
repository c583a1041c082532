"""Packs: many Part-10 members, their manifest and a locator in one plain tar.

    <delivery_id>.dcm …     ordered by delivery_id, mtime the whole seconds of received_at
    manifest.avro           the members' InstanceReceived without payload place, zstd blocks
    locator                 512 bytes of ASCII JSON that say where the manifest is
    1,024 zero bytes

Invariant: the same members give the same bytes, and a pack's key is the hash of its bytes; no
name in it comes from a peer. Reading is `pack_reading`'s.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import fastavro
import orjson

from contracts import ustar
from contracts.codec import to_plain
from contracts.events import Area, InstanceReceived, PackMember
from contracts.failures import PoisonError, Reason
from contracts.schema_catalog import newest

FORMAT_VERSION = 1
MEMBERS_MAX = 4_000
LOCATOR_BYTES = 512
# What a reader fetches from an object's end: the locator and the end of the archive.
LOCATOR_TAIL_BYTES = LOCATOR_BYTES + ustar.END_BYTES
MANIFEST_NAME = "manifest.avro"
LOCATOR_NAME = "locator"
MEMBER_SUFFIX = ".dcm"
# `finish(below=…)` tries so many locators: a key below one of a million others is nearly certain.
SALTS_MAX = 1 << 22
# User metadata of a pack's object: when it came to be, in ISO 8601; copies carry it on.
ARCHIVED_AT_METADATA = "hilum-archived-at"

_SYNC_MARKER_BYTES = 16
# Siblings of a series have nearly the same header: large blocks are what compresses them 100×.
_MANIFEST_BLOCK_BYTES = 1024 * 1024
_ZSTD_LEVEL = 3


class PackFile(Protocol):
    """The part of a writable binary file that assembling needs (`io.BytesIO` has it)."""

    def write(self, data: bytes, /) -> int:
        """Writes all of `data`."""

    def seek(self, offset: int, /) -> int:
        """Goes to an absolute offset."""

    def truncate(self) -> int:
        """Cuts the file at the current offset."""


@dataclass(frozen=True, slots=True)
class Pack:
    """A finished pack: its identity and where its members stand."""

    object_sha256: str
    size_bytes: int
    members: tuple[PackMember, ...]

    def key(self, area: Area) -> str:
        """The object key under which these bytes are stored."""
        return object_key(area, self.object_sha256)


def object_key(area: Area, object_sha256: str) -> str:
    """`packs/<2 hex>/<sha256>.tar`, or the same under `quarantine/`."""
    return f"{area.value}/{object_sha256[:2]}/{object_sha256}.tar"


class NoKeyBelowError(ValueError):
    """No salt gives a key below the one that was asked for."""


class PackAssembly:
    """Writes one pack, member by member, into a file that begins empty.

    Bytes are hashed as they pass, so the pack's key is known without reading it again. What
    `add` refuses leaves no trace in the file.
    """

    def __init__(self, file: PackFile) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._offset = 0
        self._events: list[InstanceReceived] = []
        self._members: list[PackMember] = []

    @property
    def member_count(self) -> int:
        """Members written so far."""
        return len(self._members)

    def add(self, event: InstanceReceived, part10_head: bytes, data: Iterable[bytes]) -> None:
        """Appends one member: the head, then the data set's bytes.

        Members come in ascending delivery_id, MEMBERS_MAX at most. Raises PoisonError
        (content_mismatch: size or sha256 differ from the event's; oversize: more than ustar
        holds) and whatever `data` raises; then the file is as before the call.
        """
        assert len(self._members) < MEMBERS_MAX
        assert not self._events or self._events[-1].delivery_id < event.delivery_id
        length = len(part10_head) + event.size_bytes
        if length > ustar.SIZE_BYTES_MAX:
            raise PoisonError(Reason.OVERSIZE, f"{length} bytes")
        before, before_hash = self._offset, self._hash.copy()
        is_whole = False
        try:
            self._write(ustar.header(_member_name(event), length, _mtime_s(event)))
            start = self._offset
            self._write(part10_head)
            self._write_checked(event, data)
            self._write(bytes(ustar.padding(length)))
            is_whole = True
        finally:
            if not is_whole:
                self._offset, self._hash = before, before_hash
                self._file.seek(before)
                self._file.truncate()
        self._events.append(replace(event, payload_partition=None, payload_offsets=None))
        self._members.append(
            PackMember(event.content, event.delivery_id, event.gateway_id, start, length)
        )

    def finish(self, below: str | None = None) -> Pack:
        """Appends manifest, locator and the end, and gives the pack's identity.

        With `below` the pack's sha256 is smaller than that one: the smallest salt in the locator
        that makes it so is chosen, so equal input gives equal bytes still. Raises NoKeyBelowError.
        """
        assert self._members
        manifest = manifest_bytes(self._events)
        mtime = max(_mtime_s(event) for event in self._events)
        self._write(ustar.header(MANIFEST_NAME, len(manifest), mtime))
        manifest_offset = self._offset
        self._write(manifest)
        self._write(bytes(ustar.padding(len(manifest))))
        self._write(ustar.header(LOCATOR_NAME, LOCATOR_BYTES, mtime))
        self._write(self._tail(manifest_offset, manifest, below))
        return Pack(self._hash.hexdigest(), self._offset, tuple(self._members))

    def _tail(self, manifest_offset_bytes: int, manifest: bytes, below: str | None) -> bytes:
        """The locator and the end of the archive."""
        fields: dict[str, object] = {
            "format_version": FORMAT_VERSION,
            "manifest_offset_bytes": manifest_offset_bytes,
            "manifest_length_bytes": len(manifest),
            "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        }
        if below is None:
            return _tail_of(fields)
        for salt in range(SALTS_MAX):
            tail = _tail_of({**fields, "salt": salt})
            whole = self._hash.copy()
            whole.update(tail)
            if whole.hexdigest() < below:
                return tail
        raise NoKeyBelowError(below)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._offset += len(data)

    def _write_checked(self, event: InstanceReceived, data: Iterable[bytes]) -> None:
        content, size = hashlib.sha256(), 0
        for chunk in data:
            size += len(chunk)
            if size > event.size_bytes:
                break
            content.update(chunk)
            self._write(chunk)
        if size != event.size_bytes:
            raise PoisonError(
                Reason.CONTENT_MISMATCH, f"{event.size_bytes} bytes announced, {size} or more read"
            )
        if content.hexdigest() != event.content.content_sha256:
            raise PoisonError(Reason.CONTENT_MISMATCH, "the sha256 differs from the event's")


def manifest_bytes(events: Sequence[InstanceReceived]) -> bytes:
    """The members' events as an Avro object container whose bytes follow from them alone."""
    buffer = io.BytesIO()
    fastavro.writer(
        buffer,
        newest(InstanceReceived).parsed,
        [to_plain(event) for event in events],
        codec="zstandard",
        sync_interval=_MANIFEST_BLOCK_BYTES,
        sync_marker=_sync_marker(events),
        codec_compression_level=_ZSTD_LEVEL,
    )
    return buffer.getvalue()


def _sync_marker(events: Sequence[InstanceReceived]) -> bytes:
    # Avro wants 16 random bytes; random ones would give the same batch another key on a retry.
    lines = (f"{event.delivery_id} {event.content.content_sha256}\n" for event in events)
    return hashlib.sha256("".join(lines).encode()).digest()[:_SYNC_MARKER_BYTES]


def _tail_of(locator: Mapping[str, object]) -> bytes:
    return orjson.dumps(locator).ljust(LOCATOR_BYTES) + bytes(ustar.END_BYTES)


def _member_name(event: InstanceReceived) -> str:
    return event.delivery_id + MEMBER_SUFFIX


def _mtime_s(event: InstanceReceived) -> int:
    return int(event.received_at.timestamp())
