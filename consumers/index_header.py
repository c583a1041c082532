"""Turns a header in the DICOM JSON Model into the columns of one row.

Invariant: any text gives columns; what is not as the standard says becomes NULL or empty, and the
header itself stays as it came. Pure; it must not decide what is a conflict or a patient.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import orjson

from consumers.index_tags import joined, tags_of

# ClickHouse's Date32 (PS3.5 DA knows no bounds).
DATE_MIN, DATE_MAX = date(1900, 1, 1), date(2299, 12, 31)

_PIXEL_DATA = ("7FE00010", "7FE00008", "7FE00009")
_LENGTH = re.compile(r"[?&]length=([0-9]{1,19})\Z")
_DATE = re.compile(r"([0-9]{4})([.:-]?)([0-9]{2})\2([0-9]{2})\Z")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")

Header = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Description:
    """What a header says of its instance. Texts are '' and numbers None where it says nothing."""

    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: date | None
    patient_sex: str
    accession_number: str
    study_date: date | None
    study_time: str
    study_description: str
    series_number: int | None
    series_description: str
    instance_number: int | None
    modality: str
    body_part_examined: str
    station_name: str
    manufacturer: str
    tags: dict[str, str]
    header_hash: int
    pixel_data_bytes: int


def describe(header: str) -> Description:
    """The columns that follow from `header` (PS3.18 Annex F); never raises."""
    data_set = _parse(header)
    return Description(
        patient_id=_text(data_set, "00100020"),
        issuer_of_patient_id=_text(data_set, "00100021"),
        patient_name=_alphabetic(data_set, "00100010"),
        patient_birth_date=parse_date(_text(data_set, "00100030")),
        patient_sex=_text(data_set, "00100040"),
        accession_number=_text(data_set, "00080050"),
        study_date=parse_date(_text(data_set, "00080020")),
        study_time=_text(data_set, "00080030"),
        study_description=_text(data_set, "00081030"),
        series_number=parse_integer(_first(data_set, "00200011")),
        series_description=_text(data_set, "0008103E"),
        instance_number=parse_integer(_first(data_set, "00200013")),
        modality=_text(data_set, "00080060"),
        body_part_examined=_text(data_set, "00180015"),
        station_name=_text(data_set, "00081010"),
        manufacturer=_text(data_set, "00080070"),
        tags=tags_of(data_set),
        header_hash=hash_of(header),
        pixel_data_bytes=_pixel_data_bytes(data_set),
    )


def modality_of(header: str) -> str:
    """(0008,0060) alone, '' without one; never raises."""
    return _text(_parse(header), "00080060")


def hash_of(header: str) -> int:
    """64 bits that tell one header text from another."""
    return int.from_bytes(hashlib.blake2b(header.encode(), digest_size=8).digest(), "big")


def parse_date(text: str) -> date | None:
    """A DA value (PS3.5 6.2), also with the separators of older devices; None if it is none."""
    match = _DATE.match(text)
    if match is None:
        return None
    try:
        value = date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None
    return value if DATE_MIN <= value <= DATE_MAX else None


def parse_integer(value: object) -> int | None:
    """An IS value that fits 64 bits; None if it is none."""
    if isinstance(value, str):
        return int(value.strip()) if _INTEGER.match(value.strip()) else None
    if isinstance(value, float):
        # NaN is no integer, and infinity has no int().
        return int(value) if abs(value) < 2**53 and value == int(value) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -(2**63) <= value < 2**63 else None
    return None


def _parse(header: str) -> Header:
    try:
        data_set = orjson.loads(header)
    except ValueError:
        return {}
    return data_set if isinstance(data_set, dict) else {}


def _values(data_set: Header, tag: str) -> list[object]:
    element = data_set.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _first(data_set: Header, tag: str) -> object:
    values = _values(data_set, tag)
    return values[0] if values else None


def _text(data_set: Header, tag: str) -> str:
    # Spaces and NULs at the ends are padding, also where a device padded in the middle of a value.
    return joined(_values(data_set, tag)).strip(" \0")


def _alphabetic(data_set: Header, tag: str) -> str:
    value = _first(data_set, tag)
    if isinstance(value, dict):
        value = value.get("Alphabetic")
    return value.strip(" \0") if isinstance(value, str) else ""


def _pixel_data_bytes(data_set: Header) -> int:
    for tag in _PIXEL_DATA:
        element = data_set.get(tag)
        if not isinstance(element, dict):
            continue
        uri, inline = element.get("BulkDataURI"), element.get("InlineBinary")
        if isinstance(uri, str) and (match := _LENGTH.search(uri)):
            return min(int(match[1]), 2**63)
        if isinstance(inline, str):
            return len(inline) * 3 // 4 - inline[-2:].count("=")
    return 0
