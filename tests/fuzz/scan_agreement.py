"""The scan against pydicom on valid data sets and their mutations, wherever pydicom reads them.

Invariant: a difference that no rule of the oracle or of this file names is a finding. It must not
decide by what the scan did which cases are compared, but for headers that it calls incomplete.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset

from edge_gateway.scan.fragments import FragmentMemo
from tests.edge_gateway.scan.oracle import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    Difference,
    differences,
    pydicom_data_set,
)
from tests.fuzz.scan_target import Case, case_of, memo, scan_case
from tests.fuzz.target import require

COMPARED = frozenset((IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED))
# Kinds of the oracle that the standard asks for, or that are pydicom's own (see test_corpus).
EXPLAINED = frozenset(
    (
        "binary is little endian",
        "empty name group is left out",
        "empty sequence has no Value",
        "empty value is null",
        "group length",
        "padding of an inner value",
        "unreadable for pydicom",
        "value of padding only",
    )
)
_TEXT = frozenset(["LO", "LT", "PN", "SH", "ST", "UC", "UT"])
_NUMBERS_AS_TEXT = frozenset(["FD", "FL", "SV", "UV"])
_ITEM_DELIMITATION = (b"\xfe\xff\x0d\xe0", b"\xff\xfe\xe0\x0d")
# In a value's repr: bytes that the declared character set does not have, or an escape left over.
_BROKEN_TEXT = re.compile(r"\ufffd|\\x1b")


def check(data: bytes) -> None:
    """Raises Violation where the two disagree and no rule says why."""
    found = findings(data) or []
    require(not found, f"as pydicom reads it, but {[one.path for one in found]}")


def findings(data: bytes) -> list[Difference] | None:
    """What nobody can explain; None where there is nothing to compare."""
    case = case_of(data)
    if case.transfer_syntax_uid not in COMPARED or case.size_bytes != len(case.encoded):
        return None
    # Group 0008 in the other byte order: the scan goes by what it sees, pydicom by what is said.
    is_big_endian = case.transfer_syntax_uid == BIG_ENDIAN
    if case.encoded[:2] == (b"\x08\0" if is_big_endian else b"\0\x08"):
        return None
    with memo(FragmentMemo()):
        header = scan_case(case)
    if not header.is_complete:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            data_set = _read_by_pydicom(case)
            found = [] if data_set is None else differences(header, data_set)
        finally:
            logging.disable(logging.NOTSET)
    if data_set is None:
        return None
    attributes = list(_attributes(json.loads(header.header_json)))
    is_ended_early = any(code in _inflated(case) for code in _ITEM_DELIMITATION)
    return [
        one
        for one in found
        if not _is_explained(one, attributes)
        # pydicom ends a data set at a stray Item Delimitation Item; here it is stepped over.
        and not (is_ended_early and one.theirs is None)
    ]


def _read_by_pydicom(case: Case) -> Dataset | None:
    try:
        return pydicom_data_set(case.encoded, case.transfer_syntax_uid)
    except Exception:  # noqa: BLE001 - what it raises over broken bytes is not ours to list
        return None


def _inflated(case: Case) -> bytes:
    if case.transfer_syntax_uid != DEFLATED:
        return case.encoded
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(case.encoded)


def _attributes(header: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for tag, attribute in header.items():
        yield tag, attribute
        if attribute["vr"] == "SQ":
            for item in attribute.get("Value", []):
                yield from _attributes(item)


def _is_explained(one: Difference, attributes: list[tuple[str, dict[str, Any]]]) -> bool:
    # A stray delimiter is an element for pydicom; here it is stepped over.
    if one.kind in EXPLAINED or (one.ours is None and "/FFFEE0" in one.path):
        return True
    if not isinstance(one.ours, dict) or not isinstance(one.theirs, dict):
        return False
    ours, theirs = one.ours, one.theirs
    if ours["vr"] != theirs["vr"]:
        return _is_other_vr_explained(ours, theirs, attributes)
    if ours["vr"] in _NUMBERS_AS_TEXT:
        return _is_no_json_number(ours, theirs)
    mine, others = ours.get("Value", []), theirs.get("Value", [])
    if ours["vr"] == "SS":
        # A LUT Descriptor counts its entries: never negative (PS3.3 C.7.6.3.1.5).
        return [value & 0xFFFF for value in mine] == [value & 0xFFFF for value in others]
    if ours["vr"] == "AE":
        return bool(mine == [value.strip(" \0") or None for value in others])
    if ours["vr"] not in _TEXT:
        return False
    is_broken = bool(_BROKEN_TEXT.search(f"{mine}{others}"))
    return is_broken or _has_strange_character_set(attributes)


def _is_other_vr_explained(
    ours: dict[str, Any], theirs: dict[str, Any], attributes: list[tuple[str, dict[str, Any]]]
) -> bool:
    # An AT of no whole number of tags is kept as bytes here; pydicom drops the rest.
    if (ours["vr"], theirs["vr"]) == ("UN", "AT"):
        return True
    # Pixel Representation is 0 or 1 (PS3.3 C.7.6.3); pydicom takes any other for 1.
    represented = [a.get("Value") for tag, a in attributes if tag == "00280103"]
    return {ours["vr"], theirs["vr"]} == {"US", "SS"} and any(
        value not in ([0], [1]) for value in represented
    )


def _is_no_json_number(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """NaN, infinities and integers beyond 2^53 are strings here (PS3.18 F.2.3), numbers there."""
    pairs = zip(ours.get("Value", []), theirs.get("Value", []), strict=False)
    return all(
        mine == other or mine in (str(other), "NaN", "Infinity", "-Infinity")
        for mine, other in pairs
    )


def _has_strange_character_set(attributes: list[tuple[str, dict[str, Any]]]) -> bool:
    """A (0008,0005) that is none of the standard's terms is read in two ways."""
    terms = [term for tag, a in attributes if tag == "00080005" for term in a.get("Value", [])]
    return any(term is not None and term not in python_encoding for term in terms)
