"""One value field to its part of the DICOM JSON Model (PS3.18 F.2).

Invariant: the result is valid JSON in UTF-8, whatever the bytes.
It must not depend on anything but its arguments: results are memoized by the encoded bytes.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Callable
from itertools import repeat

import orjson

from edge_gateway.scan.charset import CharacterSet

BINARY_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_SWAP_BYTES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_NUMBER_FORMATS = {
    "FL": "f",
    "FD": "d",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}
_PADDING = "\0 "
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)
# Beyond this a JSON reader with 64-bit floats loses digits; PS3.18 F.2.3 allows a string instead.
_EXACT_MAX = 2**53
_PERSON_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")

JsonValue = str | int | float | dict[str, str] | None


class MalformedValueError(ValueError):
    """The value field's length does not fit its VR."""


def value_json(vr: str, value: bytes, is_big_endian: bool, charset: CharacterSet) -> bytes:
    """The members of an attribute object: `"vr":"CS","Value":["A"]`; an empty value has only "vr".

    `vr` is one of PS3.5 6.2 but SQ, two letters; `value` the encoded value field. Numbers are JSON
    numbers; IS and DS that are none, integers beyond 2^53, NaN and infinities are strings, because
    JSON has no such numbers. Binary values are little endian (F.2.7).
    Raises MalformedValueError where the length does not fit the VR.
    """
    head = b'"vr":"%s"' % vr.encode("ascii")
    if not value:
        return head
    if vr in BINARY_VRS:
        inline = base64.b64encode(_little_endian(vr, value) if is_big_endian else value)
        return b'%s,"InlineBinary":"%s"' % (head, inline)
    if vr in _NUMBER_FORMATS:
        values = _numbers(_NUMBER_FORMATS[vr], value, is_big_endian)
    elif vr == "AT":
        values = _tags(value, is_big_endian)
    else:
        values = _TEXT_READERS[vr](value, charset)
    if all(map(_is_nothing, values)) and len(values) <= 1:
        return head
    return b'%s,"Value":%s' % (head, orjson.dumps(values))


def lut_descriptor_json(value: bytes, is_big_endian: bool) -> bytes:
    """A LUT Descriptor whose VR is SS: its first value counts entries and so is never negative.

    (PS3.3 C.7.6.3.1.5; the second value is a pixel value and keeps its sign.) Raises as above.
    """
    numbers = _numbers("h", value, is_big_endian)
    if numbers and isinstance(numbers[0], int):
        numbers[0] &= 0xFFFF
    return b'"vr":"SS","Value":' + orjson.dumps(numbers) if numbers else b'"vr":"SS"'


def _is_nothing(value: JsonValue) -> bool:
    return value is None


def _little_endian(vr: str, value: bytes) -> bytes:
    width = _SWAP_BYTES.get(vr, 1)
    if width == 1 or len(value) % width:
        return value
    swapped = bytearray(len(value))
    for index in range(width):
        swapped[index::width] = value[width - 1 - index :: width]
    return bytes(swapped)


def _numbers(code: str, value: bytes, is_big_endian: bool) -> list[JsonValue]:
    width = struct.calcsize("=" + code)
    if len(value) % width:
        raise MalformedValueError(f"{len(value)} bytes for numbers of {width}")
    order = ">" if is_big_endian else "<"
    numbers = list(struct.unpack(f"{order}{len(value) // width}{code}", value))
    if code in "fd":
        return [number if math.isfinite(number) else _not_finite(number) for number in numbers]
    return [_exact(number) for number in numbers] if code in "qQ" else numbers


def _not_finite(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _exact(number: int) -> int | str:
    return number if -_EXACT_MAX <= number <= _EXACT_MAX else str(number)


def _tags(value: bytes, is_big_endian: bool) -> list[JsonValue]:
    if len(value) % 4:
        raise MalformedValueError(f"{len(value)} bytes for attribute tags")
    halves = struct.unpack(f"{'>' if is_big_endian else '<'}{len(value) // 2}H", value)
    return [f"{g:04X}{e:04X}" for g, e in zip(halves[::2], halves[1::2], strict=True)]


def _split(text: str) -> list[JsonValue]:
    return [part.rstrip(_PADDING) or None for part in text.rstrip(_PADDING).split("\\")]


def _codes(value: bytes, charset: CharacterSet) -> list[JsonValue]:
    # Never under the Specific Character Set (PS3.5 6.1.2.3).
    return _split(value.decode("latin-1"))


def _titles(value: bytes, charset: CharacterSet) -> list[JsonValue]:
    return [part.strip(_PADDING) or None for part in value.decode("latin-1").split("\\")]


def _texts(value: bytes, charset: CharacterSet) -> list[JsonValue]:
    return _split(charset.decode(value))


def _text(value: bytes, charset: CharacterSet) -> list[JsonValue]:
    return [charset.decode(value).rstrip(_PADDING) or None]


def _address(value: bytes, charset: CharacterSet) -> list[JsonValue]:
    return [value.decode("latin-1").rstrip(_PADDING) or None]


def _integers(value: bytes, charset: CharacterSet) -> list[JsonValue]:
    return [_integer(part) for part in value.decode("latin-1").split("\\")]


def _integer(part: str) -> JsonValue:
    part = part.strip(_PADDING)
    if _INTEGER.fullmatch(part):
        return _exact(int(part))
    decimal = _decimal(part)
    # "1.0" is no IS, but says the integer 1.
    whole = isinstance(decimal, float) and decimal.is_integer() and abs(decimal) <= _EXACT_MAX
    return int(decimal) if whole and isinstance(decimal, float) else part or None


def _decimals(value: bytes, charset: CharacterSet) -> list[JsonValue]:
    return [_decimal(part.strip(_PADDING)) for part in value.decode("latin-1").split("\\")]


def _decimal(part: str) -> JsonValue:
    if _DECIMAL.fullmatch(part):
        number = float(part)
        if math.isfinite(number):
            return number
    return part or None


def _person_names(value: bytes, charset: CharacterSet) -> list[JsonValue]:
    text = charset.decode(value.rstrip(b"\0 "))
    return [_person_name(part.rstrip(_PADDING)) for part in text.split("\\")]


def _person_name(part: str) -> dict[str, str] | None:
    groups = zip(_PERSON_NAME_GROUPS, part.split("="), strict=False)
    return {name: group for name, group in groups if group} or None


_TEXT_READERS: dict[str, Callable[[bytes, CharacterSet], list[JsonValue]]] = {
    **dict(zip(("AS", "CS", "DA", "DT", "TM", "UI"), repeat(_codes))),
    **dict(zip(("LO", "SH", "UC"), repeat(_texts))),
    **dict(zip(("LT", "ST", "UT"), repeat(_text))),
    "AE": _titles,
    "UR": _address,
    "IS": _integers,
    "DS": _decimals,
    "PN": _person_names,
}
