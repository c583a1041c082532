"""Columns out of a header: what the standard says, and anything else without a failure."""

from __future__ import annotations

import json
import math
from datetime import date
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers import index_reading
from consumers.index_columns import parse_date, parse_integer
from consumers.index_header import describe, hash_of
from consumers.index_reading import (
    REMEMBERED_BYTES_MAX,
    REMEMBERED_TAGS_MAX,
    STRETCH_BYTES_MAX,
    STRETCHES_MAX,
    TAGS_MAX,
)
from consumers.index_tags import ITEMS_PER_SEQUENCE_MAX
from infra.map_pieces import PiecedMap
from tests.consumers.index_events import header


def tags_of(model: dict[str, Any]) -> PiecedMap:
    """As a gateway writes the header: compact."""
    return index_reading.read(orjson.dumps(model).decode()).tags


def element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20260305", date(2026, 3, 5)),
        ("1961.02.03", date(1961, 2, 3)),
        ("19000101", date(1900, 1, 1)),
        ("18991231", None),
        ("20261305", None),
        ("20260230", None),
        ("2026-0305", None),
        ("202603", None),
        ("20260305-20260401", None),
        ("", None),
        ("٢٠٢٦٠٣٠٥", None),
    ],
)
def test_a_date_is_a_date_or_null(text: str, expected: date | None) -> None:
    assert parse_date(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((3, 3), ("-17", -17), (" 5 ", 5), (4.0, 4), (4.5, None), (math.nan, None)),
        *((math.inf, None), ("1e3", None), (2**63, None), (True, None), (None, None)),
        *(({}, None), ("9" * 40, None), ("1\x1f", 1), ("\u2003-2\x1c", -2)),
    ],
)
def test_an_integer_is_an_integer_or_null(value: object, expected: int | None) -> None:
    assert parse_integer(value) == expected


def test_tags_are_texts_by_path_of_keywords() -> None:
    model = {
        "00080008": element("CS", "ORIGINAL", "PRIMARY"),
        "00081140": {"vr": "SQ", "Value": [{"00081155": element("UI", "1.2")}, {}]},
        "00100010": element("PN", {"Alphabetic": "A^B", "Phonetic": "P"}),
        "00280030": element("DS", 0.5, 2),
        "00290010": element("LO", "ACME 1"),
        "00291008": element("CS", "IMAGE NUM 4"),
        "00292008": element("CS", "NOBODY"),
        "00420011": {"vr": "OB", "InlineBinary": "AAAA"},
        "60000010": element("US", 512),
        "60020010": element("US", 256),
        "00100020": {"vr": "LO"},
    }
    assert describe(json.dumps(model)).tags == {
        "ImageType": "ORIGINAL\\PRIMARY",
        "ReferencedImageSequence.0.ReferencedSOPInstanceUID": "1.2",
        "PatientName": "A^B==P",
        "PixelSpacing": "0.5\\2",
        "(0029,0010)": "ACME 1",
        "(0029,ACME 1,08)": "IMAGE NUM 4",
        "(0029,2008)": "NOBODY",
        "(6000,0010)": "512",
        "(6002,0010)": "256",
    }


def test_tags_are_bounded() -> None:
    items = [{"00081155": element("UI", str(number))} for number in range(2_000)]
    model: dict[str, Any] = {"00081140": {"vr": "SQ", "Value": items}}
    assert len(describe(json.dumps(model)).tags) == ITEMS_PER_SEQUENCE_MAX
    model |= {f"0041{number:04X}": element("LO", "x") for number in range(0x1000, 0x1000 + 9_000)}
    assert len(describe(json.dumps(model)).tags) == TAGS_MAX


def test_what_is_remembered_changes_no_text() -> None:
    # Elements that compare as equal and read differently, and one whose creator changes.
    values: list[Any] = [1, 1.0, True, "1", 1]
    creators = ["ACME 1", "ACME 2", None, "ACME 1", "ACME 1"]
    told = []
    for value, creator in zip(values, creators, strict=True):
        block = {"00290010": element("LO", creator)} if creator else {}
        private = block | {"00291008": element("CS", "X")}
        told.append(list(tags_of({"00280010": element("US", value)} | private).items()))
    assert [dict(tags)["Rows"] for tags in told] == ["1", "1.0", "True", "1", "1"]
    assert [tags[-1][0] for tags in told] == [
        *("(0029,ACME 1,08)", "(0029,ACME 2,08)", "(0029,1008)"),
        *("(0029,ACME 1,08)", "(0029,ACME 1,08)"),
    ]
    assert told[0] == told[3] == told[4]


def test_a_path_that_two_elements_share_has_the_last_text_alone() -> None:
    owned = {"00290010": element("LO", "ACME 1"), "00290011": element("LO", "ACME 1")}
    first, last = element("LO", "first"), element("LO", "last")
    told = tags_of(owned | {"00291008": first, "00291108": last})
    assert list(told.items())[2:] == [("(0029,ACME 1,08)", "last")]
    # A creator that reads like the path of an item of another element.
    crafted = {"00290010": element("LO", "1108).0.(0029,B")}
    nested = {"vr": "SQ", "Value": [{"00290010": element("LO", "B"), "00291008": last}]}
    told = tags_of(crafted | {"00291008": first, "00291108": nested})
    assert dict(told)["(0029,1108).0.(0029,B,08)"] == "last" and len(told) == len(set(told))


def test_stretches_grow_into_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_reading, "_STRETCHES", {})
    index_reading._LAST.clear()
    series = {f"0018{number:04X}": element("LO", str(number)) for number in range(40)}
    for changed in ("00180005", "00180014", "00180021"):
        tags_of(series)
        tags_of(series | {changed: element("LO", "another")})
    texts = [tags_of(series) for _ in range(3)][-1]
    assert {tag: stretch.elements for tag, stretch in index_reading._STRETCHES.items()}[
        "00180000"
    ] == len(series)
    (piece,) = texts.pieces
    assert list(piece) == list(texts) and piece is tags_of(series).pieces[0]


def test_what_is_remembered_is_bounded_with_its_texts() -> None:
    index_reading._LAST.clear()
    nested: dict[str, Any] = {"00100020": element("LO", "x")}
    for _ in range(28):  # 1.8 KB, whose paths are 32 KB
        nested = {"00100020": element("LO", "x"), "00081140": {"vr": "SQ", "Value": [nested]}}
    sequence = {"vr": "SQ", "Value": [nested]}
    assert len(orjson.dumps(sequence)) < REMEMBERED_BYTES_MAX
    tags_of({f"0041{number:04X}": sequence for number in range(0x1000, 0x1010)})
    assert not index_reading._LAST
    large = {"00100020": element("LO", "x" * REMEMBERED_BYTES_MAX)}
    assert tags_of(large) == {"PatientID": "x" * REMEMBERED_BYTES_MAX} == tags_of(large)
    assert not index_reading._LAST
    for number in range(REMEMBERED_TAGS_MAX + 1):
        tags_of({f"0041{0x1000 + number:04X}": element("LO", "x")})
    assert 1 <= len(index_reading._LAST) <= REMEMBERED_TAGS_MAX


def test_stretches_are_bounded_too() -> None:
    index_reading._LAST.clear()
    index_reading._STRETCHES.clear()
    wide = {f"0018{number:04X}": element("LO", "x" * 1_200) for number in range(100)}
    assert tags_of(wide) == tags_of(wide) == tags_of(wide)
    assert len(index_reading._STRETCHES) > 1
    for stretch in index_reading._STRETCHES.values():
        assert len(stretch.raw) < STRETCH_BYTES_MAX
    for first in range(0, 5 * (STRETCHES_MAX + 10), 5):
        few = {f"0018{number:04X}": element("LO", "x") for number in range(first, first + 5)}
        assert tags_of(few) == tags_of(few)
    assert 1 <= len(index_reading._STRETCHES) <= STRETCHES_MAX


_VALUES = st.sampled_from(
    ["1", "2", 'a"b', "Grüße", "山田", "\\u0041", "8).0.(0029,1", 1, -7, 0, 10**17, 1.0, True, None]
)
_TAGS = st.sampled_from(
    [
        *("00080020", "00080060", "00081140", "00100010", "00100020", "00180050", "00200011"),
        *("00200013", "00280010", "00290010", "00290011", "00291008", "00291108", "7FE00010"),
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(_TAGS, _VALUES), min_size=1, max_size=8), st.data())
def test_headers_after_others_read_as_alone(
    series: list[dict[str, Any]], data: st.DataObject
) -> None:
    index_reading._LAST.clear()
    index_reading._STRETCHES.clear()
    for values in series * 2:
        model = {tag: element("LO", values[tag]) for tag in sorted(values)}
        text = orjson.dumps(model).decode()
        # A parser sees the same in another order of keys and with spaces, where nothing matches.
        spaced = json.dumps(model)
        cut = text[: data.draw(st.integers(0, len(text)))]
        paths = list(describe(text).tags)
        assert len(paths) == len(set(paths))
        assert describe(text) == describe(spaced)._replace(header_hash=hash_of(text))
        assert describe(cut) == describe(" " + cut)._replace(header_hash=hash_of(cut))


def test_pixel_data_length_comes_from_either_form() -> None:
    assert describe(header(pixels=524_288)).pixel_data_bytes == 524_288
    assert describe(header(pixels=None)).pixel_data_bytes == 0
    inline = json.dumps({"7FE00010": {"vr": "OB", "InlineBinary": "AAECAw=="}})
    assert describe(inline).pixel_data_bytes == 4
    floats = json.dumps({"7FE00008": {"vr": "OF", "BulkDataURI": "sha256:?length=64"}})
    assert describe(floats).pixel_data_bytes == 64


def test_padding_is_no_part_of_a_text() -> None:
    described = describe(header(x00100020=[" P1 \0"], x00080050=[None]))
    assert (described.patient_id, described.accession_number) == ("P1", "")


_NAMES = st.sampled_from(
    [
        *("vr", "Value", "SQ", "Alphabetic", "InlineBinary", "BulkDataURI", "00100010"),
        *("00080020", "00200013", "00290010", "00291008", "7FE00010", "00081140", "0008002", "x"),
    ]
)
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(_NAMES, _JSON, max_size=6) | _JSON)
def test_any_json_gives_columns(model: Any) -> None:
    described = describe(json.dumps(model))
    assert all(isinstance(text, str) and text for text in described.tags.values())
    for name in ("patient_id", "patient_name", "modality", "study_time"):
        assert isinstance(getattr(described, name), str)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_any_text_gives_columns(text: str) -> None:
    assert 0 <= describe(text).pixel_data_bytes < 2**64
