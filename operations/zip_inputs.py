"""Zip archives that `hilum send` is given, unpacked entry by entry.

Invariant: no name inside an archive is ever used as a path, nothing is unpacked beyond what an
entry claims or the disk has room for, and every entry is unpacked or named with its reason.
"""

from __future__ import annotations

import errno
import lzma
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

# A zip entry that claims more than this is refused before it is unpacked (PS3.5 knows no data set
# above 4 GiB in explicit lengths; the gateway's own limit is the same).
ZIP_ENTRY_BYTES_MAX = 4 * 1024**3
ZIP_ENTRIES_MAX = 200_000
# What unpacking leaves free on its disk.
FREE_BYTES_MIN = 256 * 1024**2
_COPY_BYTES = 1 << 20
_ENCRYPTED = 0x1
Kind: TypeAlias = Literal["empty", "damaged", "encrypted", "no_room", "unreadable"]
# zlib.error, LZMAError: a compressed stream; EOFError: a member that ends early; the rest: what
# zipfile says, and bz2 says it by an OSError without a number.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError,
    ValueError, OSError,
)  # fmt: skip
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """An entry that was unpacked to `path`; `name` is for people."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class ZipProblem:
    """An entry, or a whole archive, that was not unpacked."""

    name: str
    reason: str
    kind: Kind = "damaged"


def is_zip(path: Path, head: bytes) -> bool:
    """Whether a file is a zip archive, by its first bytes and its directory."""
    return head.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path)


def unzipped(path: Path, name: str, scratch: Path) -> Iterator[ZipEntry | ZipProblem]:
    """Every entry of an archive but folders; `name` stands before the entries' own."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > ZIP_ENTRIES_MAX:
                yield ZipProblem(name, f"a zip archive with {len(entries)} entries")
                return
            # By the name: `is_dir` falls over one without characters.
            files = [one for one in entries if not one.filename.endswith("/")]
            if not files:
                yield ZipProblem(name, "a zip archive without files", "empty")
            for entry in files:
                yield _extracted(archive, entry, f"{name}!{entry.filename}", scratch)
    except _BROKEN as cause:
        yield ZipProblem(name, f"a zip archive that cannot be read: {cause}", _kind_of(cause))


def _extracted(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, scratch: Path
) -> ZipEntry | ZipProblem:
    if entry.file_size == 0:
        return ZipProblem(name, "an empty file", "empty")
    if entry.file_size > ZIP_ENTRY_BYTES_MAX:
        return ZipProblem(name, f"claims {entry.file_size} bytes")
    if entry.flag_bits & _ENCRYPTED:
        return ZipProblem(name, "is encrypted: unpack it first", "encrypted")
    if shutil.disk_usage(scratch).free - entry.file_size < FREE_BYTES_MIN:
        return ZipProblem(name, f"no room to unpack {entry.file_size} bytes", "no_room")
    target = scratch / uuid.uuid4().hex
    try:
        written = _copied(archive, entry, target)
    except _BROKEN as cause:
        target.unlink(missing_ok=True)
        return ZipProblem(name, f"cannot be unpacked: {cause}", _kind_of(cause))
    if written > entry.file_size:
        target.unlink()
        return ZipProblem(name, "unpacks to more than it claims")
    return ZipEntry(target, name)


def _kind_of(cause: Exception) -> Kind:
    """Whether the disk is at fault, which may pass, or the archive, which never does."""
    number = cause.errno if isinstance(cause, OSError) else None
    if number is None or number == errno.EINVAL:
        return "damaged"
    return "no_room" if number in _NO_ROOM else "unreadable"


def _copied(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> int:
    written = 0
    with archive.open(entry) as source, target.open("wb") as sink:
        while chunk := source.read(_COPY_BYTES):
            written += len(chunk)
            if written > entry.file_size:
                break  # a bomb that lies about its size
            sink.write(chunk)
    return written
