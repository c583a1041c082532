"""What single elements of a header become as typed columns of the index.

Invariant: any element gives a value of its column's type or none; a value that is not as the
standard says is none. Pure; it must not look at more than one element.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date

from consumers.index_tags import joined

# ClickHouse's Date32 (PS3.5 DA knows no bounds).
DATE_MIN, DATE_MAX = date(1900, 1, 1), date(2299, 12, 31)

_LENGTH = re.compile(r"[?&]length=([0-9]{1,19})\Z")
_DATE = re.compile(r"([0-9]{4})([.:-]?)([0-9]{2})\2([0-9]{2})\Z")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")

# An element of the DICOM JSON Model as it was parsed (PS3.18 Annex F.2.2).
Element = Mapping[str, object]


def has_column(tag: str) -> bool:
    """Whether this element fills a column at all."""
    return tag in _COLUMNS


def columns_of(tag: str, element: object) -> dict[str, object]:
    """The column that a top-level element fills, by its name; empty for most. Never raises."""
    column = _COLUMNS.get(tag)
    if column is None or not isinstance(element, dict):
        return {}
    name, convert = column
    value = convert(element)
    return {} if value is None else {name: value}


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


def _values(element: Element) -> list[object]:
    values = element.get("Value")
    return values if isinstance(values, list) else []


def _first(element: Element) -> object:
    values = _values(element)
    return values[0] if values else None


def _text(element: Element) -> str:
    # Spaces and NULs at the ends are padding, also where a device padded in the middle of a value.
    return joined(_values(element)).strip(" \0")


def _date(element: Element) -> date | None:
    return parse_date(_text(element))


def _integer(element: Element) -> int | None:
    return parse_integer(_first(element))


def _alphabetic(element: Element) -> str:
    value = _first(element)
    if isinstance(value, dict):
        value = value.get("Alphabetic")
    return value.strip(" \0") if isinstance(value, str) else ""


def _pixel_data_bytes(element: Element) -> int | None:
    uri, inline = element.get("BulkDataURI"), element.get("InlineBinary")
    if isinstance(uri, str) and (match := _LENGTH.search(uri)):
        return min(int(match[1]), 2**63)
    if isinstance(inline, str):
        return len(inline) * 3 // 4 - inline[-2:].count("=")
    return None


_COLUMNS: Mapping[str, tuple[str, Callable[[Element], object]]] = {
    "00080020": ("study_date", _date),
    "00080030": ("study_time", _text),
    "00080050": ("accession_number", _text),
    "00080060": ("modality", _text),
    "00080070": ("manufacturer", _text),
    "00081010": ("station_name", _text),
    "00081030": ("study_description", _text),
    "0008103E": ("series_description", _text),
    "00100010": ("patient_name", _alphabetic),
    "00100020": ("patient_id", _text),
    "00100021": ("issuer_of_patient_id", _text),
    "00100030": ("patient_birth_date", _date),
    "00100040": ("patient_sex", _text),
    "00180015": ("body_part_examined", _text),
    "00200011": ("series_number", _integer),
    "00200013": ("instance_number", _integer),
    # Float, Double Float and Pixel Data exclude each other (PS3.3 C.7.6.24, C.7.6.25).
    "7FE00008": ("pixel_data_bytes", _pixel_data_bytes),
    "7FE00009": ("pixel_data_bytes", _pixel_data_bytes),
    "7FE00010": ("pixel_data_bytes", _pixel_data_bytes),
}
