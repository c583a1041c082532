"""Fills an index from the packs of a bucket alone, and from its records of collected ones.

Invariant: a pack is believed about its members where its locator, the manifest's hash and the
tar's own headers agree; a pack that does not agree with itself is named and not indexed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from consumers.part10 import part10_head
from consumers.spec import Record
from contracts import ustar
from contracts.events import Area, InstanceReceived, PackArchived, PackMember
from contracts.pack_reading import (
    PackFormatError,
    parse_locator,
    parse_manifest,
    read_pack,
)
from contracts.pack_records import COLLECTED_PREFIX, parse_record
from contracts.packs import (
    ARCHIVED_AT_METADATA,
    LOCATOR_TAIL_BYTES,
    MEMBER_SUFFIX,
    object_key,
)
from infra.seams import StoredObject, StoreSite
from operations.replay.filling import Filler
from operations.replay.shadow import Shadow

# Packs are read by four small requests each; more workers only queue at one local store.
WORKERS = 8
# Packs read ahead of the writer: manifests of 4,000 headers are large.
READ_AHEAD_MAX = 32


@dataclass(frozen=True, slots=True)
class _Told:
    """What one pack tells."""

    events: tuple[InstanceReceived, ...]
    archived: PackArchived


class FromBucket:
    """The packs of one site's bucket, as a source of a shadow."""

    def __init__(self, site: StoreSite, shadow: Shadow) -> None:
        self._site = site
        self._shadow = shadow

    def catch_up(self, filler: Filler) -> tuple[str, ...]:
        """On return the shadow has every pack that was listed at the call; the keys it cannot read.

        Raises RetryableError, FatalError.
        """
        done = self._shadow.positions()
        wanted = [
            stored
            for prefix in (*(f"{area.value}/" for area in Area), COLLECTED_PREFIX)
            for stored in self._site.object_store.list(prefix)
            if stored.key not in done
        ]
        unreadable: list[str] = []
        keys: list[str] = []
        members = 0
        for stored, told in self._read(wanted):
            if told is None:
                unreadable.append(stored.key)
                continue
            keys.append(stored.key)
            members += len(told.events) + 1
            # A guess that becomes exact: packs hold about as much as those before.
            filler.tally.total = filler.tally.records + members
            filler.tally.total += (members // len(keys)) * (len(wanted) - len(keys))
            filler.add(Record(told.archived, stored.key, 0, 0))
            for number, event in enumerate(told.events, 1):
                filler.add(Record(event, stored.key, 0, number))
            if filler.is_full:
                filler.flush(partial(self._shadow.save, dict.fromkeys(keys, 1)))
                keys, members = [], 0
        if keys:
            filler.flush(partial(self._shadow.save, dict.fromkeys(keys, 1)))
        filler.finish()
        return tuple(unreadable)

    def _read(self, wanted: list[StoredObject]) -> Iterator[tuple[StoredObject, _Told | None]]:
        """Each pack with what it tells, in order, a bounded number of them read ahead."""
        ahead: deque[tuple[StoredObject, Future[_Told | None]]] = deque()
        with ThreadPoolExecutor(WORKERS) as pool:
            for stored in wanted:
                ahead.append((stored, pool.submit(self._try, stored)))
                if len(ahead) >= READ_AHEAD_MAX:
                    first, future = ahead.popleft()
                    yield first, future.result()
            for first, future in ahead:
                yield first, future.result()

    def _try(self, stored: StoredObject) -> _Told | None:
        try:
            is_record = stored.key.startswith(COLLECTED_PREFIX)
            return self._tell_record(stored.key) if is_record else self._tell(stored)
        except (PackFormatError, KeyError):
            return None

    def _tell(self, listed: StoredObject) -> _Told:
        """Raises PackFormatError, KeyError (gone, or without its time), RetryableError."""
        stored = self._site.object_store.head(listed.key)
        if stored is None:
            raise KeyError(listed.key)
        area_name, _, name = stored.key.partition("/")
        sha256 = name.rpartition("/")[2].removesuffix(".tar")
        if object_key(Area(area_name), sha256) != stored.key:
            raise PackFormatError(f"{stored.key} is no key of a pack")
        events, members = self._contents(stored)
        archived_at = datetime.fromisoformat(stored.metadata[ARCHIVED_AT_METADATA])
        archived = PackArchived(
            site=self._site.name,
            bucket=self._site.object_store.bucket,
            object_key=stored.key,
            area=Area(area_name),
            archived_at=archived_at.astimezone(UTC),
            object_sha256=sha256,
            object_size_bytes=stored.size_bytes,
            members=members,
        )
        return _Told(events, archived)

    def _tell_record(self, key: str) -> _Told:
        """Where deliveries were, that others hold since. Raises as `_tell` does."""
        store = self._site.object_store
        archived = parse_record(store.read(key), key)
        return _Told((), replace(archived, site=self._site.name, bucket=store.bucket))

    def _contents(
        self, stored: StoredObject
    ) -> tuple[tuple[InstanceReceived, ...], tuple[PackMember, ...]]:
        """Events and places, without a request for each member where that can be had."""

        def read(offset_bytes: int, length_bytes: int) -> bytes:
            return self._site.object_store.read(stored.key, offset_bytes, length_bytes)

        if stored.size_bytes < LOCATOR_TAIL_BYTES:
            raise PackFormatError(f"{stored.size_bytes} bytes are no pack")
        locator = parse_locator(read(stored.size_bytes - LOCATOR_TAIL_BYTES, LOCATOR_TAIL_BYTES))
        manifest = read(locator.manifest_offset_bytes, locator.manifest_length_bytes)
        events = parse_manifest(manifest, locator)
        members = computed_members(events)
        if _end_of(members) == locator.manifest_offset_bytes - ustar.BLOCK_BYTES:
            last = members[-1]
            header = read(last.offset_bytes - ustar.BLOCK_BYTES, ustar.BLOCK_BYTES)
            if _is_header_of(last, header):
                return events, members
        contents = read_pack(read, stored.size_bytes)
        return contents.events, contents.members


def computed_members(events: tuple[InstanceReceived, ...]) -> tuple[PackMember, ...]:
    """Where each member stands, if this version's Part-10 heads are those of the pack."""
    members = []
    offset = 0
    for event in events:
        length = len(part10_head(event)) + event.size_bytes
        start = offset + ustar.BLOCK_BYTES
        members.append(
            PackMember(event.content, event.delivery_id, event.gateway_id, start, length)
        )
        offset = start + length + ustar.padding(length)
    return tuple(members)


def _end_of(members: tuple[PackMember, ...]) -> int:
    last = members[-1]
    return last.offset_bytes + last.length_bytes + ustar.padding(last.length_bytes)


def _is_header_of(member: PackMember, block: bytes) -> bool:
    """Whether the tar confirms a computed place.

    The last one's name and length confirm all before it: heads of versions differ by a constant.
    """
    try:
        header = ustar.parse_header(block)
    except ValueError:
        return False
    return header == ustar.TarHeader(member.delivery_id + MEMBER_SUFFIX, member.length_bytes)
