"""pydicom's own test files that a storage SCP can be sent, and what is in them.

Invariant: decided by pydicom alone, not by the product's own reader.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydicom import dcmread
from pydicom.data.data_manager import DATA_ROOT
from pydicom.errors import InvalidDicomError
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import MediaStorageDirectoryStorage


@dataclass(frozen=True)
class Storable:
    """A file that can be stored; `sha256` is over its data set's bytes, group 2 left out."""

    path: Path
    sop_instance_uid: str
    study_instance_uid: str
    sha256: str


@cache
def storable_files() -> tuple[Storable, ...]:
    """Every Part-10 test file of pydicom that has both SOP UIDs."""
    found = []
    # The files that pydicom ships; its own look-up would try to download others.
    for path in sorted(Path(DATA_ROOT, "test_files").rglob("*")):
        storable = _read(path) if path.is_file() else None
        if storable:
            found.append(storable)
    return tuple(found)


def _read(path: Path) -> Storable | None:
    data = path.read_bytes()
    try:
        data_set = dcmread(io.BytesIO(data), stop_before_pixels=True)
    except (InvalidDicomError, EOFError, ValueError, KeyError, NotImplementedError):
        return None
    sop_class = str(data_set.get("SOPClassUID", ""))
    sop_instance = str(data_set.get("SOPInstanceUID", ""))
    if not sop_class or not sop_instance or sop_class == MediaStorageDirectoryStorage:
        return None
    if data_set.file_meta.get("TransferSyntaxUID") is None:
        return None
    offset = _data_set_offset(path)
    sha256 = hashlib.sha256(data[offset:]).hexdigest()
    study = str(data_set.get("StudyInstanceUID", "") or "")
    return Storable(path, sop_instance, study, sha256)


def _data_set_offset(path: Path) -> int:
    """Where group 2 ends, by pydicom's own reading of the file meta information."""
    with path.open("rb") as handle:
        read_preamble(handle, force=False)
        _read_file_meta_info(handle)
        return handle.tell()
