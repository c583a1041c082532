"""Turns a header in the DICOM JSON Model into the columns of one row.

Invariant: any text gives columns; what is not as the standard says becomes NULL or empty, and the
header itself stays as it came. Pure; it must not decide what is a conflict or a patient.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from pydicom.datadict import keyword_for_tag, tag_for_keyword

# The tags are for searching; an enhanced CT repeats the same sixty elements for 2,000 frames, and
# the header holds all of them.
ITEMS_PER_SEQUENCE_MAX = 64
TAGS_MAX = 4_096
# What is remembered from header to header: 16 MiB at most, whatever senders make up.
REMEMBERED_TAGS_MAX, REMEMBERED_BYTES_MAX = 4_096, 2_048
# ClickHouse's Date32 (PS3.5 DA knows no bounds).
DATE_MIN, DATE_MAX = date(1900, 1, 1), date(2299, 12, 31)

_PIXEL_DATA = ("7FE00010", "7FE00008", "7FE00009")
_LENGTH = re.compile(r"[?&]length=([0-9]{1,19})\Z")
_DATE = re.compile(r"([0-9]{4})([.:-]?)([0-9]{2})\2([0-9]{2})\Z")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")
_ELEMENT = re.compile(r"[0-9A-F]{8}\Z")

Header = Mapping[str, Any]


class _Known(NamedTuple):
    """An element as it came last, and what it says. `raw` tells 1, 1.0 and true apart."""

    raw: bytes
    creator: str | None
    texts: Mapping[str, str]
    # Of a private creator, its text: tags of its block are named after it.
    names: str | None


# A series repeats nearly all its elements. Any thread may replace an entry, and each holds all
# that its use depends on.
_LAST: dict[str, _Known] = {}


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


def tags_of(data_set: Header) -> dict[str, str]:
    """Text by path of keywords, in the order of the header, at most TAGS_MAX of them."""
    tags: dict[str, str] = {}
    creators: dict[str, str] = {}
    for tag, element in data_set.items():
        tags.update(_remembered(tag, element, creators))
        if len(tags) >= TAGS_MAX:
            return _bounded_tags(data_set)
    return tags


def _bounded_tags(data_set: Header) -> dict[str, str]:
    tags: dict[str, str] = {}
    for path, text in _walk(data_set, ""):
        tags[path] = text
        if len(tags) == TAGS_MAX:
            break
    return tags


def _remembered(tag: str, element: object, creators: dict[str, str]) -> Mapping[str, str]:
    """`_texts` of an element of the data set itself; out of memory where it is as it was."""
    try:
        raw = orjson.dumps(element)
    except TypeError:  # nested deeper than it writes
        return dict(_texts(tag, element, "", creators))
    creator = creators.get(tag[:6])
    known = _LAST.get(tag)
    if known is None or known.raw != raw or known.creator != creator:
        texts = dict(_texts(tag, element, "", creators))
        names = creators.get(_block_of(tag)) if _is_creator(tag) else None
        known = _Known(raw, creator, texts, names)
        if len(raw) <= REMEMBERED_BYTES_MAX:
            if len(_LAST) >= REMEMBERED_TAGS_MAX:
                _LAST.clear()
            _LAST[tag] = known
    elif known.names is not None:
        creators[_block_of(tag)] = known.names
    return known.texts


def _walk(data_set: Header, prefix: str) -> Iterator[tuple[str, str]]:
    creators: dict[str, str] = {}
    for tag, element in data_set.items():
        yield from _texts(tag, element, prefix, creators)


def _texts(
    tag: str, element: object, prefix: str, creators: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Every text in one element; a private creator is put into `creators` on the way."""
    values = element.get("Value") if isinstance(element, dict) else None
    if not values or not isinstance(element, dict) or not isinstance(values, list):
        return
    path = _public_path(tag) or _private_path(tag, creators)
    if path is None:
        return
    if element.get("vr") == "SQ":
        for index, item in enumerate(values[:ITEMS_PER_SEQUENCE_MAX]):
            if isinstance(item, dict):
                yield from _walk(item, f"{prefix}{path}.{index}.")
        return
    text = _joined(values)
    if _is_creator(tag):
        creators[_block_of(tag)] = text
    if text:
        yield prefix + path, text


def _is_creator(tag: str) -> bool:
    """Whether it is a private creator (PS3.5 7.8.1), if it is a tag."""
    return tag[4:6] == "00" and tag[3] in "13579BDF"


def _block_of(creator: str) -> str:
    """The digits that begin each tag of the block that `creator` reserves."""
    return creator[:4] + creator[6:]


def _private_path(tag: str, creators: Mapping[str, str]) -> str | None:
    """None for what is no tag at all."""
    if not _ELEMENT.match(tag):
        return None
    creator = creators.get(tag[:6])
    if creator is None:
        return _numeric(tag)
    return f"({tag[:4].lower()},{creator},{tag[6:].lower()})"


@lru_cache(maxsize=16_384)
def _public_path(tag: str) -> str | None:
    """None for a private tag, and for what is none."""
    if not _ELEMENT.match(tag) or int(tag[3], 16) % 2:
        return None
    number = int(tag, 16)
    keyword = keyword_for_tag(number)
    # Groups 50xx and 60xx repeat: sixteen overlays share one keyword, which names none of them.
    if keyword and tag_for_keyword(keyword) == number:
        return keyword
    return _numeric(tag)


def _numeric(tag: str) -> str:
    return f"({tag[:4].lower()},{tag[4:].lower()})"


def _joined(values: Sequence[object]) -> str:
    # One text is what nearly every element has.
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return "\\".join(map(_value_text, values))


def _value_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, dict):  # PN: the three component groups (PS3.5 6.2.1.1)
        groups = (value.get(name) for name in ("Alphabetic", "Ideographic", "Phonetic"))
        return "=".join(g if isinstance(g, str) else "" for g in groups).rstrip("=")
    return str(value)


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
    return _joined(_values(data_set, tag)).strip(" \0")


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
