"""Turns a header in the DICOM JSON Model into the columns of one row.

Invariant: any text gives columns; what is not as the standard says becomes NULL or empty, and the
header itself stays as it came. It must not decide what is a conflict or a patient.
"""

from __future__ import annotations

import hashlib
from datetime import date
from typing import NamedTuple

from consumers.index_reading import read
from infra.map_pieces import PiecedMap


class Description(NamedTuple):
    """What a header says of its instance. Texts are '' and numbers None where it says nothing."""

    tags: PiecedMap
    header_hash: int
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: date | None = None
    patient_sex: str = ""
    accession_number: str = ""
    study_date: date | None = None
    study_time: str = ""
    study_description: str = ""
    series_number: int | None = None
    series_description: str = ""
    instance_number: int | None = None
    modality: str = ""
    body_part_examined: str = ""
    station_name: str = ""
    manufacturer: str = ""
    pixel_data_bytes: int = 0


def describe(header: str) -> Description:
    """The columns that follow from `header` (PS3.18 Annex F); never raises."""
    reading = read(header)
    return Description(reading.tags, hash_of(header), **reading.columns)


def modality_of(header: str) -> str:
    """(0008,0060) alone, '' without one; never raises."""
    modality: str = read(header).columns.get("modality", "")
    return modality


def hash_of(header: str) -> int:
    """64 bits that tell one header text from another."""
    return int.from_bytes(hashlib.blake2b(header.encode(), digest_size=8).digest(), "big")
