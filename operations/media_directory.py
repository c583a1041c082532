"""A DICOMDIR: which files it refers to, and where these lie on the medium.

Invariant: a reference never leads out of the medium's folder, whatever it says; names are found
as a reader of ISO 9660 finds them, without regard to case and version. It must not change or
send anything.
"""

from __future__ import annotations

import struct
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian

# A DICOMDIR of a full DVD has some 20 MB.
MEDIA_DIRECTORY_BYTES_MAX = 256 * 1024**2
REFERENCES_MAX = 500_000
# PS3.10 8.2: a File ID has at most eight components.
COMPONENTS_MAX = 8
_NAME = "DICOMDIR"
_FOREIGN = frozenset("/\\\0")
# RecursionError: sequences a thousand deep.
_BROKEN = (
    InvalidDicomError, BytesLengthException, EOFError, struct.error, ValueError, LookupError,
    AttributeError, TypeError, NotImplementedError, RecursionError, OverflowError,
)  # fmt: skip


class MediaDirectoryDamaged(Exception):
    """A DICOMDIR that cannot be read."""


def is_named_media_directory(name: str) -> bool:
    """Whether a file of that name is a medium's directory, as media write it."""
    return _plain(name) == _NAME.casefold()


def references(path: Path) -> tuple[tuple[str, ...], ...]:
    """The File IDs that a DICOMDIR refers to, each once, in its order (PS3.3 F.3.2.2).

    Records that are no longer in use count too: their file may be the last copy. Raises
    MediaDirectoryDamaged, OSError.
    """
    if path.stat().st_size > MEDIA_DIRECTORY_BYTES_MAX:
        raise MediaDirectoryDamaged(f"more than {MEDIA_DIRECTORY_BYTES_MAX} bytes")
    try:
        if _is_deflated(path):
            raise MediaDirectoryDamaged("deflated, which no DICOMDIR is")
        records = dcmread(path, force=True).get("DirectoryRecordSequence")
        if records is None:
            raise MediaDirectoryDamaged("no directory records")
        named = [record.get("ReferencedFileID") for record in records]
        found = dict.fromkeys(_components(one) for one in named if one)
    except _BROKEN as cause:
        raise MediaDirectoryDamaged(type(cause).__name__) from cause
    if len(found) > REFERENCES_MAX:
        raise MediaDirectoryDamaged(f"more than {REFERENCES_MAX} references")
    return tuple(found)


def on_medium(root: Path, components: tuple[str, ...]) -> Path | None:
    """The file of a File ID below `root`; None where it is not there, or would not be below."""
    if not 0 < len(components) <= COMPONENTS_MAX:
        return None
    place = root
    for component in components:
        if component in ("", ".", "..") or _FOREIGN & set(component):
            return None
        exact = place / component
        found = exact if exact.exists() else _alike(place, component)
        if found is None:
            return None
        place = found
    is_below = place.resolve().is_relative_to(root.resolve())
    return place if is_below and place.is_file() else None


def _is_deflated(path: Path) -> bool:
    """By group 2 alone: PS3.10 8.6 wants Explicit VR Little Endian, and inflating has no bound."""
    with path.open("rb") as file:
        read_preamble(file, force=True)
        meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group > 2)
    return bool(meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian)


def _alike(folder: Path, name: str) -> Path | None:
    wanted = _plain(name)
    try:
        return next((one for one in sorted(folder.iterdir()) if _plain(one.name) == wanted), None)
    except OSError:
        return None


def _plain(name: str) -> str:
    """As ISO 9660 compares: no case, no version, no dot at the end."""
    return name.split(";")[0].rstrip(".").casefold()


def _components(value: object) -> tuple[str, ...]:
    # Some writers put the whole path into one value, with backslashes or slashes.
    parts = [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
    return tuple(str(part).strip() for part in parts)
