"""What `hilum send` is given: files, folders, media and zip archives, as single files.

Invariant: nothing is skipped in silence: whatever is found is a file to send or has an end with
its reason, and exactly one of them. A folder and a file are read once, however many links lead
there; what is no regular file is never opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from edge_gateway.outgoing import is_part10
from operations.media_directory import (
    MediaDirectoryDamaged,
    is_named_media_directory,
    on_medium,
    references,
)
from operations.zip_inputs import Kind, ZipEntry, is_zip, unzipped

# Deeper folders are a mistake or an attack, and Python's stack is finite.
FOLDER_DEPTH_MAX = 60
# Zip archives within zip archives.
ZIP_DEPTH_MAX = 3
_HEAD_BYTES = 132


class End(StrEnum):
    """How a file ended. Every file has one; those of `GOOD` are no problem."""

    SENT = "sent"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    EMPTY = "empty"
    NOT_DICOM = "not_dicom"
    TRUNCATED = "truncated"
    NO_UIDS = "no_uids"
    NOT_STORABLE = "not_storable"
    UNREADABLE = "unreadable"
    DAMAGED = "damaged"
    ENCRYPTED = "encrypted"
    NO_ROOM = "no_room"
    MISSING = "missing"
    QUARANTINE_FAILED = "quarantine_failed"
    MEDIA_DIRECTORY = "media_directory"
    REPEATED = "repeated"


GOOD = frozenset((End.SENT, End.MEDIA_DIRECTORY, End.REPEATED))


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to send: where it is now, and how to name it to the person."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class InputProblem:
    """Something that was found and is not sent as a file of its own."""

    name: str
    reason: str
    end: End = End.UNREADABLE


Found = InputFile | InputProblem


def collect(paths: Iterable[Path], scratch: Path) -> Iterator[Found]:
    """Every file below `paths`, folders in name order, zip entries unpacked into `scratch`.

    A DICOMDIR that is named stands for the files it refers to; one that lies in a folder is read
    for what it refers to and the folder lacks (PS3.10 8.6).
    """
    walk = _Walk(scratch)
    for path in paths:
        if not os.path.lexists(path):
            yield InputProblem(str(path), "no such file or folder", End.MISSING)
        elif path.is_dir():
            yield from walk.folder(path, 0)
        elif is_named_media_directory(path.name):
            yield from walk.medium(path)
        else:
            yield from walk.file(path)


def parts_of(path: Path, scratch: Path) -> Iterator[Found]:
    """One regular file as itself, or the entries of a zip archive."""
    yield from _opened(path, str(path), scratch, 0)


@dataclass(slots=True)
class _Walk:
    scratch: Path
    seen: set[tuple[int, int]] = field(default_factory=set)

    def folder(self, path: Path, depth: int) -> Iterator[Found]:
        try:
            if not self._is_new(path):
                yield InputProblem(str(path), "a link to a folder that is read", End.REPEATED)
                return
            entries = sorted(path.iterdir())
        except OSError as cause:
            yield _unreadable(path, cause)
            return
        if depth > FOLDER_DEPTH_MAX:
            yield InputProblem(str(path), f"more than {FOLDER_DEPTH_MAX} folders deep")
            return
        if not entries and not depth:
            yield InputProblem(str(path), "an empty folder", End.EMPTY)
        for entry in entries:
            if entry.is_dir():
                yield from self.folder(entry, depth + 1)
            elif is_named_media_directory(entry.name):
                yield from self._beside(entry)
            else:
                yield from self.file(entry)

    def file(self, path: Path) -> Iterator[Found]:
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                yield InputProblem(str(path), "no regular file")
                return
            if not self._is_new(path):
                yield InputProblem(str(path), "the same file as another", End.REPEATED)
                return
        except OSError as cause:
            yield _unreadable(path, cause)
            return
        yield from _opened(path, str(path), self.scratch, 0)

    def medium(self, path: Path) -> Iterator[Found]:
        """What a DICOMDIR refers to, and itself."""
        yield from self._listed(path, sends=True)

    def _beside(self, path: Path) -> Iterator[Found]:
        """A DICOMDIR of a folder whose files are read anyway: what is missing, and itself."""
        yield from self._listed(path, sends=False)

    def _listed(self, path: Path, *, sends: bool) -> Iterator[Found]:
        try:
            self._is_new(path)
            named = references(path)
        except MediaDirectoryDamaged as cause:
            yield InputProblem(str(path), f"a DICOMDIR that cannot be read: {cause}", End.DAMAGED)
            return
        except OSError as cause:
            yield _unreadable(path, cause)
            return
        for components in named:
            found = on_medium(path.parent, components)
            if found is None:
                name = str(path.parent.joinpath(*components))
                yield InputProblem(name, f"{path.name} refers to it", End.MISSING)
            elif sends:
                yield from self.file(found)
        text = f"refers to {len(named)} files; is not sent itself"
        yield InputProblem(str(path), text, End.MEDIA_DIRECTORY)

    def _is_new(self, path: Path) -> bool:
        """Notes a file or folder, links followed; False where it was there before."""
        status = path.stat()
        key = (status.st_dev, status.st_ino)
        # Some file systems have no numbers: better sent twice than not at all.
        if key in self.seen and status.st_ino:
            return False
        self.seen.add(key)
        return True


def _opened(path: Path, name: str, scratch: Path, depth: int) -> Iterator[Found]:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as cause:
        yield _unreadable(Path(name), cause)
        return
    if not head:
        yield InputProblem(name, "an empty file", End.EMPTY)
    elif is_part10(head) or not is_zip(path, head):
        # Part 10 first: a zip archive may be hidden behind an image.
        yield InputFile(path, name)
    elif depth >= ZIP_DEPTH_MAX:
        text = f"more than {ZIP_DEPTH_MAX} zip archives inside each other"
        yield InputProblem(name, text, End.DAMAGED)
    else:
        for found in unzipped(path, name, scratch):
            if isinstance(found, ZipEntry):
                yield from _opened(found.path, found.name, scratch, depth + 1)
            else:
                yield InputProblem(found.name, found.reason, _ZIP_ENDS[found.kind])


_ZIP_ENDS: dict[Kind, End] = {
    "empty": End.EMPTY,
    "damaged": End.DAMAGED,
    "encrypted": End.ENCRYPTED,
    "no_room": End.NO_ROOM,
    "unreadable": End.UNREADABLE,
}


def _unreadable(path: Path, cause: OSError) -> InputProblem:
    return InputProblem(str(path), cause.strerror or type(cause).__name__, End.UNREADABLE)
