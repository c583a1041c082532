"""pydicom as the oracle of the header scan: its JSON, and each place where the scan's differs.

Invariant: a difference has one rule that names it; what no rule names is a `Difference` of kind
`unexplained`. It must not use the scan's own code to compute what is expected.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble

from edge_gateway.scan import HeaderReason, ScannedHeader

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
UNREADABLE = "pydicom cannot convert the value"
PIXEL_DATA = ("7FE00008", "7FE00009", "7FE00010")
# What pydicom raises over a value that is none of its VR.
_CANNOT_CONVERT = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    BytesLengthException,
)
BINARY = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")


@dataclass(frozen=True)
class DataSetBytes:
    """A file's data set as a peer would send it: no preamble, no group 2."""

    name: str
    encoded: bytes
    transfer_syntax_uid: str


@dataclass(frozen=True)
class Difference:
    """Where two headers disagree, and the rule that explains it."""

    kind: str
    path: str
    ours: object
    theirs: object


def data_set_of_file(path: Path) -> DataSetBytes:
    """The data set of a Part-10 file, or of a bare one (implicit VR unless it says otherwise)."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_preamble(file, True)
        meta = _read_file_meta_info(file)
        syntax = str(meta.get("TransferSyntaxUID", "") or IMPLICIT)
        return DataSetBytes(path.name, file.read(), syntax)


def pydicom_data_set(encoded: bytes, transfer_syntax_uid: str) -> Dataset:
    """What pydicom reads from the same bytes."""
    if transfer_syntax_uid == DEFLATED:
        encoded = zlib.decompressobj(-zlib.MAX_WBITS).decompress(encoded)
    return read_dataset(
        io.BytesIO(encoded),
        transfer_syntax_uid == IMPLICIT,
        transfer_syntax_uid != BIG_ENDIAN,
    )


def pydicom_json(data_set: Dataset) -> dict[str, Any]:
    """`to_json_dict` element by element, so that one unreadable value costs only itself."""
    result: dict[str, Any] = {}
    for tag in sorted(data_set.keys()):
        try:
            element = data_set[tag]
            if element.VR == "SQ":
                items = [pydicom_json(item) for item in element.value]
                result[f"{tag:08X}"] = {"vr": "SQ", "Value": items}
            else:
                result[f"{tag:08X}"] = element.to_json_dict(None, 0)
        except _CANNOT_CONVERT:
            result[f"{tag:08X}"] = UNREADABLE
    return result


def differences(header: ScannedHeader, data_set: Dataset) -> list[Difference]:
    """Every place where a scan's header and pydicom's JSON of `data_set` disagree."""
    ours = json.loads(header.header_json)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _compare(ours, pydicom_json(data_set), "")
    if header.reason is not HeaderReason.TRUNCATED:
        return found
    # Of the element in which the bytes end pydicom keeps what there is; the scan drops it.
    return [_renamed_when_cut(difference) for difference in found]


def _renamed_when_cut(difference: Difference) -> Difference:
    is_top_level = difference.path.count("/") == 1
    if difference.kind == "unexplained" and difference.ours is None and is_top_level:
        return replace(difference, kind="element cut off")
    return difference


def _compare(ours: dict[str, Any], theirs: dict[str, Any], path: str) -> list[Difference]:
    found: list[Difference] = []
    for key in sorted(ours.keys() | theirs.keys()):
        at = f"{path}/{key}"
        if key not in ours:
            kind = "group length" if key.endswith("0000") else "unexplained"
            found.append(Difference(kind, at, None, theirs[key]))
        elif key not in theirs:
            found.append(Difference("unexplained", at, ours[key], None))
        elif theirs[key] == UNREADABLE:
            found.append(Difference("unreadable for pydicom", at, ours[key], None))
        else:
            found += _compare_attribute(key, ours[key], theirs[key], at)
    return found


def _compare_attribute(
    key: str, ours: dict[str, Any], theirs: dict[str, Any], at: str
) -> list[Difference]:
    if ours == theirs or _is_same_bulk(key, ours, theirs):
        return []
    if ours["vr"] == "SQ" and "BulkDataURI" in ours:
        return [Difference("broken sequence", at, ours, None)]
    if ours["vr"] == theirs["vr"] == "SQ" and len(ours.get("Value", [])) == len(theirs["Value"]):
        if not theirs["Value"]:
            return [Difference("empty sequence has no Value", at, ours, theirs)]
        pairs = zip(ours["Value"], theirs["Value"], strict=True)
        return [
            difference
            for number, (one, other) in enumerate(pairs)
            for difference in _compare(one, other, f"{at}[{number}]")
        ]
    return [Difference(_kind(ours, theirs), at, ours, theirs)]


def _is_same_bulk(key: str, ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether a BulkDataURI names exactly the bytes that pydicom has."""
    if ours["vr"] != theirs["vr"] or ours["vr"] == "SQ" or "BulkDataURI" not in ours:
        return False
    if ours["vr"] in BINARY:
        value = base64.b64decode(theirs.get("InlineBinary", ""))
    else:
        # Text above 64 KiB: made of ASCII in the tests, padded to even length.
        value = "\\".join(theirs["Value"]).encode()
        value += b" " * (len(value) % 2)
    digest = "" if key in PIXEL_DATA else hashlib.sha256(value).hexdigest()
    return bool(ours["BulkDataURI"] == f"sha256:{digest}?length={len(value)}")


def _kind(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    if ours["vr"] != theirs["vr"]:
        return "other VR"
    if "InlineBinary" in theirs and _is_swapped(ours, theirs):
        return "binary is little endian"
    if theirs.keys() != {"vr", "Value"}:
        return "unexplained"
    mine, others = ours.get("Value", []), theirs.get("Value", [])
    if [value or None for value in others] == mine:
        return "empty value is null"
    if not mine and not any(others):
        return "value of padding only"
    if [value.rstrip(" \0") if isinstance(value, str) else value for value in others] == mine:
        return "padding of an inner value"
    if ours["vr"] == "PN" and _without_empty_groups(others) == mine:
        return "empty name group is left out"
    return "unexplained"


def _is_swapped(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    width = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}.get(ours["vr"], 1)
    value = base64.b64decode(theirs["InlineBinary"])
    words = [value[at : at + width][::-1] for at in range(0, len(value), width)]
    return bool(ours.get("InlineBinary") == base64.b64encode(b"".join(words)).decode())


def _without_empty_groups(names: list[dict[str, str]]) -> list[dict[str, str] | None]:
    return [{key: group for key, group in name.items() if group} or None for name in names]
