"""What `hilum send` is given: files, folders and zip archives, as paths of single files.

Invariant: nothing is skipped in silence; what cannot be read is named with its reason, and no
name inside a zip archive is ever used as a path.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# A zip entry that claims more than this is refused before it is unpacked (PS3.5 knows no data set
# above 4 GiB in explicit lengths; the gateway's own limit is the same).
ZIP_ENTRY_BYTES_MAX = 4 * 1024**3
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to send: where it is now, and how to name it to the person."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class InputProblem:
    """Something that was named and cannot be sent."""

    name: str
    reason: str


def collect(paths: Iterable[Path], scratch: Path) -> Iterator[InputFile | InputProblem]:
    """Every file below `paths`, folders in name order, zip entries unpacked into `scratch`."""
    for path in paths:
        if path.is_dir():
            below = sorted(entry for entry in path.rglob("*") if entry.is_file())
            if not below:
                yield InputProblem(str(path), "an empty folder")
            for entry in below:
                yield from _file(entry, scratch)
        elif path.is_file():
            yield from _file(path, scratch)
        else:
            yield InputProblem(str(path), "no such file or folder")


def _file(path: Path, scratch: Path) -> Iterator[InputFile | InputProblem]:
    if path.stat().st_size == 0:
        yield InputProblem(str(path), "an empty file")
    elif _is_zip(path):
        yield from _unzipped(path, scratch)
    else:
        yield InputFile(path, str(path))


def _is_zip(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(4) == b"PK\x03\x04" and zipfile.is_zipfile(path)


def _unzipped(path: Path, scratch: Path) -> Iterator[InputFile | InputProblem]:
    try:
        with zipfile.ZipFile(path) as archive:
            for index, entry in enumerate(archive.infolist()):
                name = f"{path}!{entry.filename}"
                if entry.is_dir():
                    continue
                if entry.file_size > ZIP_ENTRY_BYTES_MAX:
                    yield InputProblem(name, f"claims {entry.file_size} bytes")
                elif entry.file_size == 0:
                    yield InputProblem(name, "an empty file")
                else:
                    target = scratch / f"{abs(hash(str(path)))}-{index:08d}"
                    yield from _extract(archive, entry, target, name)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as cause:
        yield InputProblem(str(path), f"a zip archive that cannot be read: {cause}")


def _extract(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, name: str
) -> Iterator[InputFile | InputProblem]:
    written = 0
    with archive.open(entry) as source, target.open("wb") as sink:
        while chunk := source.read(_COPY_BYTES):
            written += len(chunk)
            if written > entry.file_size:
                break  # a bomb that lies about its size
            sink.write(chunk)
    if written > entry.file_size:
        target.unlink()
        yield InputProblem(name, "unpacks to more than it claims")
    else:
        yield InputFile(target, name)
