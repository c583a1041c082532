"""Part-10 files of synthetic instances, for senders that read files (PS3.10 7.1).

Invariant: a file tells in its own group 2 where its identity stands, so that it can become another
instance by a few writes at known offsets. It must not change a file that this module did not write.
"""

from __future__ import annotations

import os
import struct
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from contracts.failures import FatalError
from load.studies.identity import Identity, Place
from load.studies.template import Template, marker_value, stamp_parts

# (0002,0100) names who wrote (0002,0102), our table of places (PS3.10 7.1).
_PRIVATE_CREATOR_UID = "2.25.148350967200000000000000000000000001"
_IMPLEMENTATION_CLASS_UID = "2.25.148350967200000000000000000000000002"
_IMPLEMENTATION_VERSION = "HILUM_LOAD_1"
_PREAMBLE = bytes(128) + b"DICM"
_ENTRY = struct.Struct("<BQI")
_PLACES = tuple(Place)


def write_part10(path: Path, template: Template, identity: Identity) -> None:
    """A complete file of that instance stands at `path`; nothing is flushed to the disk."""
    head, tail = stamp_parts(template, identity)
    prefix, uid_offset = _prefix(
        template.sop_class_uid, template.transfer_syntax_uid, template.places
    )
    uid = identity.value(Place.SOP_INSTANCE_UID)
    with path.open("wb") as file:
        file.write(prefix[:uid_offset] + uid + prefix[uid_offset + len(uid) :])
        file.write(head)
        file.write(tail)


def renew_part10(path: Path, identity: Identity) -> None:
    """The file at `path` is that instance: its identity was written over in place, group 2 too.

    Raises FatalError where the file was not written by `write_part10`.
    """
    places = _own_places(path)
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for place, offset, length in places:
            value = identity.value(place)
            if len(value) != length or os.pwrite(descriptor, value, offset) != length:
                raise FatalError(f"renewing {path}: {place.value} does not fit its place")
    finally:
        os.close(descriptor)


# Encoding group 2 costs milliseconds, writing a small file does not.
@lru_cache(maxsize=64)
def _prefix(
    sop_class_uid: str, transfer_syntax_uid: str, places: tuple[tuple[Place, int, int], ...]
) -> tuple[bytes, int]:
    """Preamble and group 2 with a marker, and the offset of the SOP Instance UID therein."""
    marker = marker_value(Place.SOP_INSTANCE_UID).encode("ascii")
    # The table's own length does not depend on its offsets, so that two rounds settle them.
    table = _table(((Place.SOP_INSTANCE_UID, 0, 0), *places), 0)
    prefix = _PREAMBLE + _group_2(sop_class_uid, transfer_syntax_uid, table)
    uid_offset = prefix.index(marker)
    own = (Place.SOP_INSTANCE_UID, uid_offset, len(marker))
    table = _table((own,), 0) + _table(places, len(prefix))
    return _PREAMBLE + _group_2(sop_class_uid, transfer_syntax_uid, table), uid_offset


def _table(places: tuple[tuple[Place, int, int], ...], shift: int) -> bytes:
    return b"".join(
        _ENTRY.pack(_PLACES.index(place), offset + shift, length)
        for place, offset, length in places
    )


def _group_2(sop_class_uid: str, transfer_syntax_uid: str, table: bytes) -> bytes:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(marker_value(Place.SOP_INSTANCE_UID))
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(_IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = _IMPLEMENTATION_VERSION
    meta.PrivateInformationCreatorUID = UID(_PRIVATE_CREATOR_UID)
    # Of even length by a filler that no place has: pydicom would pad unseen otherwise.
    meta.PrivateInformation = table + b"\xff" * (len(table) % 2)
    buffer = BytesIO()
    write_file_meta_info(DicomIO(buffer), meta)
    return buffer.getvalue()


def _own_places(path: Path) -> list[tuple[Place, int, int]]:
    try:
        meta = read_file_meta_info(path)
    except (OSError, InvalidDicomError) as error:
        raise FatalError(f"renewing {path}: it cannot be read ({error})") from error
    if meta.get("PrivateInformationCreatorUID") != _PRIVATE_CREATOR_UID:
        raise FatalError(
            f"renewing {path}: it is not a file of this generator",
            "write it with `hilum load studies` first",
        )
    table = bytes(meta.PrivateInformation)
    whole = len(table) // _ENTRY.size * _ENTRY.size
    return [
        (_PLACES[index], offset, length)
        for index, offset, length in _ENTRY.iter_unpack(table[:whole])
    ]
