"""The names in a spool directory, its locks, and the identity that is minted into it.

Invariant: a path is made from a number or a delivery_id that we minted, never from a string of a
peer; gateway.json is written once, whole and flushed. Must not read or write records.
"""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson

from edge_gateway.spool.entry import encode_values, entry_from_values
from edge_gateway.spool.errors import SpoolCorrupt, SpoolLocked, SpoolMismatch
from edge_gateway.spool.filesystem import CREATE_NEW, READ, Bytes, FileSystem
from edge_gateway.spool.limits import DEFAULT_SPOOL_BYTES_MAX, Usage

FORMAT_VERSION = 1
SEGMENT_SUFFIX = ".seg"
OBJECT_SUFFIX = ".ds"
# A data set keeps this name until its record is flushed: what a crash leaves under it is either
# named by a record of the last segment or an orphan, and no older segment has to be read to know.
UNFINISHED_SUFFIX = ".ds.part"
REMNANT_SUFFIX = ".rec"
TEMPORARY_SUFFIX = ".tmp"
_SEGMENT_NAME = re.compile(r"([0-9]{10})\.seg")
_GATEWAY_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class GatewayIdentity:
    """Who this spool belongs to. `spool_bytes_max` is the default fixed at first start."""

    format_version: int
    gateway_id: str
    site: str
    created_at: datetime
    spool_bytes_max: int


class SpoolLayout:
    """The paths of one spool directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.identity = directory / "gateway.json"
        self.receiver_lock = directory / "lock"
        self.forwarder_lock = directory / "forward.lock"
        self.mark = directory / "durable.mark"
        self.segments = directory / "segments"
        self.free = directory / "free"
        self.objects = directory / "objects"
        self.damaged = directory / "damaged"

    def segment(self, number: int) -> Path:
        return self.segments / f"{number:010d}{SEGMENT_SUFFIX}"

    def free_segment(self, number: int) -> Path:
        return self.free / f"{number:010d}{SEGMENT_SUFFIX}"

    def object(self, delivery_id: str) -> Path:
        return self.objects / f"{delivery_id}{OBJECT_SUFFIX}"

    def unfinished_object(self, delivery_id: str) -> Path:
        return self.objects / f"{delivery_id}{UNFINISHED_SUFFIX}"

    def remnant(self, delivery_id: str) -> Path:
        return self.objects / f"{delivery_id}{REMNANT_SUFFIX}"

    def segment_numbers(self, fs: FileSystem) -> list[int]:
        """The numbers under segments/, ascending."""
        return _numbers_in(fs, self.segments)

    def damaged_numbers(self, fs: FileSystem) -> list[int]:
        """The numbers of the segments that were put aside, ascending."""
        return _numbers_in(fs, self.damaged)

    def make(self, fs: FileSystem) -> None:
        """On return all directories exist and their names survive a power loss."""
        for path in (self.segments, self.free, self.objects):
            fs.make_directory(path)
        fs.flush_directory(self.directory)
        fs.flush_directory(self.directory.parent)


def _numbers_in(fs: FileSystem, directory: Path) -> list[int]:
    found = (_SEGMENT_NAME.fullmatch(name) for name in fs.names(directory))
    return [int(match.group(1)) for match in found if match]


def require_delivery_id(text: str) -> str:
    """`text` when it is a canonical UUID, so that it may name a file. Raises ValueError."""
    if str(uuid.UUID(text)) != text:
        raise ValueError("a delivery_id is a canonical lowercase UUID")
    return text


def take_lock(path: Path, holder: str) -> int:
    """A descriptor that holds the lock until it is closed or the process ends, however it ends.

    Writes nothing into the file: on a full disk the forwarder must still get in, since it is the
    one that makes room. Raises SpoolLocked when another process has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise SpoolLocked(f"locking {path}: another {holder} holds this spool") from error
    return descriptor


def read_identity(fs: FileSystem, layout: SpoolLayout) -> GatewayIdentity | None:
    """The identity of an existing spool, None where there is none.

    Raises SpoolCorrupt when it cannot be read, SpoolMismatch for a format of another version.
    """
    if layout.identity.name not in fs.names(layout.directory):
        return None
    descriptor = fs.open(layout.identity, READ)
    try:
        text = fs.read_at(descriptor, _GATEWAY_BYTES_MAX, 0)
    finally:
        fs.close(descriptor)
    try:
        values = orjson.loads(text)
        identity = entry_from_values(GatewayIdentity, values)
    except (ValueError, KeyError, TypeError) as error:
        raise SpoolCorrupt(f"reading {layout.identity}: {error!r}") from error
    if identity.format_version != FORMAT_VERSION:
        raise SpoolMismatch(
            f"opening {layout.directory}: format {identity.format_version}, not {FORMAT_VERSION}",
            "run the version of Hilum that wrote this spool, or drain it with that one first",
        )
    return identity  # type: ignore[no-any-return]


def load_or_mint_identity(
    fs: FileSystem, layout: SpoolLayout, site: str, now: datetime
) -> GatewayIdentity:
    """The spool's identity; minted, written whole and flushed at first start.

    Raises SpoolMismatch when the spool belongs to another site or holds segments of nobody.
    """
    identity = read_identity(fs, layout)
    if identity is None:
        if layout.segment_numbers(fs):
            raise SpoolMismatch(
                f"opening {layout.directory}: segments without a gateway.json",
                "restore gateway.json from a backup, or move the directory away",
            )
        return _mint_identity(fs, layout, site, now)
    if identity.site != site:
        raise SpoolMismatch(
            f"opening {layout.directory}: it belongs to site {identity.site!r}, not {site!r}",
            "point gateway.spool.directory to a directory of its own",
        )
    return identity


def _mint_identity(
    fs: FileSystem, layout: SpoolLayout, site: str, now: datetime
) -> GatewayIdentity:
    room = fs.disk_space(layout.directory).free_bytes // 2
    identity = GatewayIdentity(
        format_version=FORMAT_VERSION,
        gateway_id=str(uuid.uuid4()),
        site=site,
        created_at=now,
        spool_bytes_max=min(room, DEFAULT_SPOOL_BYTES_MAX),
    )
    write_whole(fs, layout.identity, [encode_values(identity)])
    return identity


def copy_identity(fs: FileSystem, layout: SpoolLayout, identity: GatewayIdentity) -> None:
    """On return a further directory of the same gateway carries its identity, flushed."""
    fs.make_directory(layout.directory)
    write_whole(fs, layout.identity, [encode_values(identity)])
    fs.flush_directory(layout.directory.parent)
    fs.flush_directory(layout.directory.parent.parent)


def write_whole(fs: FileSystem, path: Path, buffers: Sequence[Bytes]) -> None:
    """On return `path` holds exactly these bytes and survives a power loss; never a part of them.

    Raises OSError; nothing is left under a temporary name then, as far as the disk allows.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    fs.discard(temporary)
    descriptor = fs.open(temporary, CREATE_NEW)
    try:
        try:
            fs.write_at(descriptor, buffers, 0)
            fs.flush(descriptor)
        finally:
            fs.close(descriptor)
        fs.rename(temporary, path)
    except OSError:
        fs.unlink(temporary)
        raise
    fs.flush_directory(path.parent)


def measure(fs: FileSystem, layout: SpoolLayout) -> Usage:
    """What the spool occupies now, counted from its directories."""
    segments = [size for _, size in fs.file_sizes(layout.segments)]
    objects = [size for _, size in fs.file_sizes(layout.objects)]
    free = [size for _, size in fs.file_sizes(layout.free)]
    room = fs.disk_space(layout.directory)
    return Usage(
        segment_bytes=sum(segments),
        object_bytes=sum(objects),
        free_segment_bytes=sum(free),
        segments=len(segments),
        objects=len(objects),
        disk_free_bytes=room.free_bytes,
        disk_bytes=room.total_bytes,
    )
