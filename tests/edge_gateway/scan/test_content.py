"""What the header says for each kind of value, element by element."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import Any

import pytest

from edge_gateway.scan import HeaderReason, ScanLimits, ScannedHeader, scan_header
from tests.edge_gateway.scan.oracle import BIG_ENDIAN, EXPLICIT, IMPLICIT
from tests.edge_gateway.scan.synthetic import (
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    element,
    implicit,
    item,
    open_item,
)

INFINITY, NAN = struct.pack("<f", float("inf")), struct.pack("<f", float("nan"))


def scan(encoded: bytes, syntax: str = EXPLICIT) -> ScannedHeader:
    return scan_header(encoded, len(encoded), syntax)


def attributes(encoded: bytes, syntax: str = EXPLICIT) -> dict[str, Any]:
    header = scan(encoded, syntax)
    assert header.is_complete, header.reason
    loaded = json.loads(header.header_json)
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize(
    ("tag", "vr", "value", "expected"),
    [
        (0x00200013, "IS", b"1.0 ", [1]),
        (0x00200013, "IS", b"1.5 ", ["1.5"]),
        (0x00200013, "IS", b"+0012\\\\x ", [12, None, "x"]),
        (0x00200013, "IS", b"99999999999999999999", ["99999999999999999999"]),
        (0x00200032, "DS", b"1e5\\-.5\\nan", [100000.0, -0.5, "nan"]),
        (0x00200032, "DS", b"1e999\\1_0", ["1e999", "1_0"]),
        (0x00089459, "FL", INFINITY + NAN, ["Infinity", "NaN"]),
        (0x00720082, "SV", struct.pack("<qq", 2**53, -(2**53) - 1), [2**53, str(-(2**53) - 1)]),
        (0x00280009, "AT", b"\x10\x00\x20\x00", ["00100020"]),
        (0x00080060, "CS", b"\\CT\\", [None, "CT", None]),
        (0x00080054, "AE", b" NORTH \\S ", ["NORTH", "S"]),
        (0x00104000, "LT", b" a\\b ", [" a\\b"]),
        (0x00080120, "UR", b"http://a\\b ", ["http://a\\b"]),
        (0x00100010, "PN", b"A^B\\=\\==C ", [{"Alphabetic": "A^B"}, None, {"Phonetic": "C"}]),
        (0x00100020, "LO", b'\x00\x01"\x7f', ['\x00\x01"\x7f']),
        (0x00100020, "LO", b"\xe4\xff", ["äÿ"]),
        (0x00281101, "SS", struct.pack("<3h", -32768, -5, 16), [32768, -5, 16]),
    ],
)
def test_value(tag: int, vr: str, value: bytes, expected: list[object]) -> None:
    assert attributes(element(tag, vr, value)) == {f"{tag:08X}": {"vr": vr, "Value": expected}}


@pytest.mark.parametrize("value", [b"", b"  ", b"\0\0"])
def test_empty_value_has_only_its_vr(value: bytes) -> None:
    for tag, vr in ((0x00080060, "CS"), (0x00100010, "PN"), (0x00200013, "IS")):
        assert attributes(element(tag, vr, value)) == {f"{tag:08X}": {"vr": vr}}


def test_value_of_impossible_length_keeps_its_bytes_as_un() -> None:
    expected = {"vr": "UN", "InlineBinary": base64.b64encode(b"abc").decode()}
    assert attributes(element(0x00280010, "US", b"abc"))["00280010"] == expected
    assert attributes(element(0x00280009, "AT", b"abc"))["00280009"] == expected


def test_unknown_vr_is_un_with_either_length_form() -> None:
    patient = element(0x00100020, "LO", b"P1")
    for long_form in (True, False):
        size = struct.pack("<HL", 0, 4) if long_form else struct.pack("<H", 4)
        encoded = struct.pack("<HH", 9, 0x1001) + b"ZZ" + size + b"data" + patient
        found = attributes(encoded)
        assert found["00091001"] == {"vr": "UN", "InlineBinary": "ZGF0YQ=="}
        assert found["00100020"]["Value"] == ["P1"]


@pytest.mark.parametrize(("tag", "vr", "width"), [(0x00281201, "OW", 2), (0x00660016, "OF", 4)])
def test_inline_binary_of_big_endian_is_little_endian(tag: int, vr: str, width: int) -> None:
    value = bytes(range(8))
    swapped = b"".join(value[at : at + width][::-1] for at in range(0, 8, width))
    head = struct.pack(">HH2sHL", tag >> 16, tag & 0xFFFF, vr.encode(), 0, 8)
    found = attributes(head + value, BIG_ENDIAN)
    assert found[f"{tag:08X}"]["InlineBinary"] == base64.b64encode(swapped).decode()


def test_limits_decide_what_is_inline_whatever_other_scans_left_in_the_memo() -> None:
    encoded = element(0x00420011, "OB", bytes(100))
    assert "InlineBinary" in attributes(encoded)["00420011"]
    header = scan_header(encoded, len(encoded), EXPLICIT, ScanLimits(inline_bytes_max=50))
    assert b"BulkDataURI" in header.header_json


def test_bulk_is_named_by_its_hash_and_small_binary_is_carried() -> None:
    large, small = bytes(range(256)) * 4 + b"\1\2", bytes(range(256)) * 4
    text = b"x" * 65_538
    found = attributes(
        element(0x00080081, "ST", b"ab")
        + element(0x00281201, "OW", small)
        + element(0x00420011, "OB", large)
        + element(0x0040A160, "UT", text)
    )
    assert found["00281201"]["InlineBinary"] == base64.b64encode(small).decode()
    digest = hashlib.sha256(large).hexdigest()
    assert found["00420011"] == {"vr": "OB", "BulkDataURI": f"sha256:{digest}?length=1026"}
    digest = hashlib.sha256(text).hexdigest()
    assert found["0040A160"] == {"vr": "UT", "BulkDataURI": f"sha256:{digest}?length=65538"}


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x7FE00008, "OF"), (0x7FE00009, "OD"), (0x7FE00010, "OW")]
)
def test_pixel_data_has_a_length_and_no_hash(tag: int, vr: str) -> None:
    key = f"{tag:08X}"
    found = attributes(element(tag, vr, bytes(16)))
    assert found[key] == {"vr": vr, "BulkDataURI": "sha256:?length=16"}
    assert attributes(element(tag, vr, b""))[key] == {"vr": vr}
    icon = attributes(element(0x00880200, "SQ", item(element(tag, vr, bytes(16)))))
    assert icon["00880200"]["Value"][0][key]["BulkDataURI"] == "sha256:?length=16"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_encapsulated_pixel_data_is_measured_without_its_delimiter(syntax: str) -> None:
    # A delimiter's bytes inside a fragment are pixels.
    value = item(b"") + item(b"\1" * 10 + SEQUENCE_END) + item(b"\2" * 4)
    first = {EXPLICIT: element(0x7FE00010, "OB", value, UNDEFINED)}.get(
        syntax, implicit(0x7FE00010, value, UNDEFINED)
    )
    padding = {EXPLICIT: element(0xFFFCFFFC, "OB", b"\0\0")}.get(
        syntax, implicit(0xFFFCFFFC, b"\0\0")
    )
    found = attributes(first + SEQUENCE_END + padding, syntax)
    uri = f"sha256:?length={len(value)}"
    assert found["7FE00010"] == {"vr": "OB", "BulkDataURI": uri}
    assert found["FFFCFFFC"]["vr"] == "OB" if syntax == EXPLICIT else "FFFCFFFC" in found


def test_unknown_of_undefined_length_is_implicit_vr_inside() -> None:
    # CP-246; some writers keep explicit VR there, which is read as well.
    for inner in (implicit(0x00080060, b"CT"), element(0x00080060, "CS", b"CT")):
        value = open_item(inner) + item(inner) + SEQUENCE_END
        patient = element(0x00100020, "LO", b"P1")
        found = attributes(element(0x00091001, "UN", value, UNDEFINED) + patient)
        nested = {"00080060": {"vr": "CS", "Value": ["CT"]}}
        assert found["00091001"] == {"vr": "SQ", "Value": [nested, nested]}
        assert found["00100020"]["Value"] == ["P1"]


def test_unknown_of_a_known_tag_is_read_as_its_vr() -> None:
    number = element(0x00280010, "UN", struct.pack("<H", 512))
    assert attributes(number)["00280010"] == {"vr": "US", "Value": [512]}
    big = struct.pack(">HH2sHL", 0x0028, 0x0010, b"UN", 0, 2) + struct.pack("<H", 512)
    assert attributes(big, BIG_ENDIAN)["00280010"] == {"vr": "US", "Value": [512]}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_private_creators_are_kept_and_give_their_elements_a_vr(syntax: str) -> None:
    def private(tag: int, vr: str, value: bytes) -> bytes:
        return element(tag, vr, value) if syntax == EXPLICIT else implicit(tag, value)

    number = struct.pack("<H", 3)
    known = private(0x00190011, "LO", b"GEMS_ACQU_01") + private(0x0019111B, "UN", number)
    other = private(0x00190011, "LO", b"SOMEONE ELSE") + private(0x0019111B, "UN", number)
    for _ in range(2):  # the second time from the memo
        found = attributes(known, syntax)
        assert found["00190011"] == {"vr": "LO", "Value": ["GEMS_ACQU_01"]}
        assert found["0019111B"]["vr"] != "UN"
        found = attributes(other, syntax)
        assert found["00190011"]["Value"] == ["SOMEONE ELSE"]
        assert found["0019111B"] == {"vr": "UN", "InlineBinary": "AwA="}


def test_creators_of_the_surroundings_do_not_reach_into_items() -> None:
    creator = implicit(0x00190011, b"GEMS_ACQU_01")
    inner = implicit(0x0019111B, struct.pack("<H", 3))
    found = attributes(creator + implicit(0x00400555, item(inner)), IMPLICIT)
    assert found["00400555"]["Value"][0]["0019111B"]["vr"] == "UN"


@pytest.mark.parametrize(("signed", "vr", "value"), [(0, "US", 65535), (1, "SS", -1)])
def test_us_or_ss_follows_pixel_representation_wherever_it_stands(
    signed: int, vr: str, value: int
) -> None:
    ones = b"\xff\xff"
    early = implicit(0x00189810, ones)
    nested = implicit(0x00400555, item(implicit(0x00280106, ones)))
    representation = implicit(0x00280103, struct.pack("<H", signed))
    found = attributes(early + representation + implicit(0x00280106, ones) + nested, IMPLICIT)
    expected = {"vr": vr, "Value": [value]}
    assert found["00189810"] == expected
    assert found["00280106"] == expected
    assert found["00400555"]["Value"][0]["00280106"] == expected


@pytest.mark.parametrize(("entries", "expected"), [(1, "US"), (2, "OW")])
def test_lut_data_follows_its_descriptor(entries: int, expected: str) -> None:
    descriptor = implicit(0x00283002, struct.pack("<3H", entries, 0, 16))
    lut = item(descriptor + implicit(0x00283006, b"\1\2"))
    found = attributes(implicit(0x00283010, lut), IMPLICIT)
    assert found["00283010"]["Value"][0]["00283006"]["vr"] == expected


def test_items_have_a_character_set_of_their_own() -> None:
    name = element(0x00100020, "LO", "é".encode())
    utf8 = element(0x00080005, "CS", b"ISO_IR 192")
    latin = element(0x00080005, "CS", b"ISO_IR 100")
    nested = element(0x00081140, "SQ", item(latin + name) + item(name))
    for _ in range(2):
        found = attributes(utf8 + nested + name)
        items = found["00081140"]["Value"]
        assert items[0]["00100020"]["Value"] == ["Ã©"]
        assert items[1]["00100020"]["Value"] == found["00100020"]["Value"] == ["é"]


def test_same_bytes_mean_other_text_in_another_character_set() -> None:
    name = element(0x00100020, "LO", "é".encode())
    utf8 = element(0x00080005, "CS", b"ISO_IR 192")
    latin = element(0x00080005, "CS", b"ISO_IR 100")
    # The run over known elements does not take the last few bytes of a data set.
    sex = element(0x00100040, "CS", b"O ") + element(0x00101030, "DS", b"70")
    for charset, text in ((utf8, "é"), (latin, "Ã©"), (utf8, "é"), (b"", "Ã©")):
        assert attributes(charset + name + sex)["00100020"]["Value"] == [text]


def test_a_line_end_makes_the_first_character_set_active_again() -> None:
    declared = element(0x00080005, "CS", b"ISO 2022 IR 100\\ISO 2022 IR 126 ")
    value = b"\xe9 \x1b-F\xe1\r\n\xe9"
    found = attributes(declared + element(0x00104000, "LT", value))
    assert found["00104000"]["Value"] == ["é α\r\né"]


@pytest.mark.parametrize("term", [b"ISO IR 192", b"iso_ir 192", b"ISO_IR_192 ", b"ISO-IR 192"])
def test_misspelt_character_sets_are_understood(term: bytes) -> None:
    found = attributes(element(0x00080005, "CS", term) + element(0x00100020, "LO", "é".encode()))
    assert found["00100020"]["Value"] == ["é"]


def test_text_that_its_character_set_cannot_decode_is_marked() -> None:
    utf8 = element(0x00080005, "CS", b"ISO_IR 192")
    found = attributes(utf8 + element(0x00100020, "LO", b"a\xffb "))
    assert found["00100020"]["Value"] == ["a\ufffdb"]


def test_backslash_inside_a_multi_byte_character_is_no_delimiter() -> None:
    # The second byte of 乗 is 5C, a backslash's.
    gb18030 = element(0x00080005, "CS", b"GB18030 ")
    found = attributes(gb18030 + element(0x00081030, "LO", b"a\x81\x5c\\b "))
    assert found["00081030"]["Value"] == ["a乗", "b"]


def test_group_lengths_are_left_out_at_every_level() -> None:
    length = element(0x00080000, "UL", bytes(4))
    modality = element(0x00080060, "CS", b"CT")
    found = attributes(length + modality + element(0x00081140, "SQ", item(length + modality)))
    assert found["00081140"]["Value"] == [{"00080060": {"vr": "CS", "Value": ["CT"]}}]
    assert "00080000" not in found


def test_odd_lengths_are_read_as_they_are() -> None:
    found = attributes(element(0x00080060, "CS", b"CTX") + element(0x00100020, "LO", b"P"))
    assert found["00080060"]["Value"] == ["CTX"]
    assert found["00100020"]["Value"] == ["P"]


def test_invalid_uids_count_as_none() -> None:
    header = scan(element(0x00080018, "UI", b"../../x ") + element(0x0020000D, "UI", b"1.2.3\0"))
    assert header.sop_instance_uid == ""
    assert header.series_instance_uid == ""
    assert header.study_instance_uid == "1.2.3"


def test_uids_inside_items_are_not_the_data_sets() -> None:
    nested = item(element(0x0020000D, "UI", b"1.2.3\0"))
    assert scan(element(0x00081200, "SQ", nested)).study_instance_uid == ""


def test_undefined_length_of_a_text_is_malformed() -> None:
    header = scan(element(0x0040A160, "UT", b"endless", UNDEFINED) + ITEM_END)
    assert header.reason in (HeaderReason.MALFORMED, HeaderReason.TRUNCATED)
