"""Data sets made for the tests: hypothesis strategies, and elements written by hand.

Invariant: what `encode` writes is valid; what is meant to be broken is made with `element`.
"""

from __future__ import annotations

import struct
import warnings
from typing import Any

from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from tests.edge_gateway.scan.oracle import BIG_ENDIAN, IMPLICIT

UNDEFINED = 0xFFFFFFFF
_LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}

# (0008,0005) and letters that it can encode.
ALPHABETS = {
    "": "abcXYZ019-",
    "ISO_IR 100": "abcäöüßé",
    "ISO_IR 101": "abcąłżč",
    "ISO_IR 109": "abcĉĝħ",
    "ISO_IR 110": "abcāēķ",
    "ISO_IR 127": "ابت",
    "ISO_IR 138": "אבג",
    "ISO_IR 148": "abcğış",
    "ISO_IR 144": "abcЖдЩю",
    "ISO_IR 126": "abcΔιον",
    "ISO_IR 13": "ﾔﾏﾀﾞ",
    "ISO_IR 166": "abcกขค",
    "ISO_IR 192": "aé日𝄞\u0001\u007f\"'/",
    "GB18030": "a王小東é",
    "GBK": "a王小东",
    "\\ISO 2022 IR 87": "ab山田太郎",
    "\\ISO 2022 IR 149": "ab김희중",
    "\\ISO 2022 IR 87\\ISO 2022 IR 159": "ab山丂",
    "ISO 2022 IR 100\\ISO 2022 IR 144": "aéЖд",
    "\\ISO 2022 IR 126\\ISO 2022 IR 101": "aΔιą",
    "ISO 2022 IR 13\\ISO 2022 IR 87": "abﾔﾏ山田",
}

_code = st.text("ABC019_", max_size=8)
_decimal = st.floats(-1e6, 1e6).map(lambda number: f"{number:.6g}")


def _several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.lists(values, min_size=2, max_size=3))


def _words(count: int, width: int) -> st.SearchStrategy[bytes]:
    return st.integers(0, count).flatmap(
        lambda number: st.binary(min_size=number * width, max_size=number * width)
    )


def _elements(letters: str) -> dict[tuple[int, str], st.SearchStrategy[Any]]:
    """Public tags of every VR with values for them; keyed by what the dictionary says too."""
    text = st.text(letters, max_size=10)
    name = st.lists(text, min_size=1, max_size=3).map("=".join)
    return {
        (0x00080008, "CS"): _several(_code),
        (0x00080020, "DA"): st.sampled_from(["", "20240131"]),
        (0x0008002A, "DT"): st.sampled_from(["", "20240131120000.5"]),
        (0x00080030, "TM"): _several(st.sampled_from(["", "1201", "120102.25"])),
        (0x00080054, "AE"): _several(_code),
        (0x00080120, "UR"): st.sampled_from(["", "http://example.org/a?b=%20c"]),
        (0x00080119, "UC"): _several(text),
        (0x00081030, "LO"): _several(text),
        (0x00080090, "PN"): name,
        (0x00081048, "PN"): _several(name),
        (0x00100010, "PN"): name,
        (0x00101010, "AS"): st.sampled_from(["", "031Y"]),
        (0x00104000, "LT"): text,
        (0x00200013, "IS"): _several(st.integers(-(2**31), 2**31 - 1)),
        (0x00200032, "DS"): _several(_decimal),
        (0x00080050, "SH"): _several(text),
        (0x0020000D, "UI"): st.sampled_from(["", "1.2.3", "1.2.840.99999.1"]),
        (0x00181405, "IS"): st.integers(0, 5),
        (0x00189074, "DT"): st.just("20240131"),
        (0x00280009, "AT"): _several(st.integers(0, 2**32 - 1)),
        (0x00280010, "US"): st.integers(0, 2**16 - 1),
        (0x00189219, "SS"): _several(st.integers(-(2**15), 2**15 - 1)),
        (0x00081163, "FD"): st.floats(allow_nan=False, allow_infinity=False),
        (0x00186020, "SL"): _several(st.integers(-(2**31), 2**31 - 1)),
        (0x00186016, "UL"): _several(st.integers(0, 2**32 - 1)),
        (0x00089459, "FL"): st.floats(width=32, allow_nan=False, allow_infinity=False),
        (0x00720082, "SV"): _several(st.integers(-(2**53), 2**53)),
        (0x00720083, "UV"): _several(st.integers(0, 2**53)),
        (0x00400440, "SQ"): st.none(),
        (0x00420011, "OB"): _words(700, 2),
        (0x00281201, "OW"): _words(700, 2),
        (0x00660016, "OF"): _words(10, 4),
        (0x00660040, "OL"): _words(300, 4),
        (0x00720073, "OD"): _words(10, 8),
        (0x7FE00001, "OV"): _words(10, 8),
        (0x0040A160, "UT"): text,
        (0x00080081, "ST"): text,
    }


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 2, charset: str | None = None) -> Dataset:
    """A valid data set of any VRs, nested, with private blocks, in one of the character sets."""
    data_set = Dataset()
    if charset is None or draw(st.integers(0, 3)) == 0:
        charset = draw(st.sampled_from(sorted(ALPHABETS)))
        data_set.add_new(0x00080005, "CS", charset.split("\\"))
    table = _elements(ALPHABETS[charset])
    for tag, vr in draw(st.lists(st.sampled_from(sorted(table)), unique=True, max_size=12)):
        if vr != "SQ":
            data_set.add_new(tag, vr, draw(table[tag, vr]))
        elif depth:
            items = draw(st.lists(data_sets(depth - 1, charset), max_size=2))
            data_set.add_new(tag, vr, Sequence(items))
            data_set[tag].is_undefined_length = draw(st.booleans())
            for item in items:
                item.is_undefined_length_sequence_item = draw(st.booleans())
    if draw(st.booleans()):
        letters = st.text("abc", min_size=1, max_size=5)
        block = data_set.private_block(0x0019, draw(letters), create=True)
        block.add_new(0x01, "LO", draw(letters))
        block.add_new(0x02, "UN", draw(st.binary(max_size=6).map(lambda value: value * 2)))
    if draw(st.booleans()):
        data_set.add_new(0x00280103, "US", draw(st.integers(0, 1)))
        is_signed = data_set[0x00280103].value == 1
        data_set.add_new(0x00280106, "SS" if is_signed else "US", draw(st.integers(0, 99)))
    return data_set


def encode(data_set: Dataset, transfer_syntax_uid: str) -> bytes:
    """The data set as pydicom writes it."""
    stream = DicomBytesIO()
    stream.is_little_endian = transfer_syntax_uid != BIG_ENDIAN
    stream.is_implicit_VR = transfer_syntax_uid == IMPLICIT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_dataset(stream, data_set)
    return bytes(stream.getvalue())


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """One element in explicit VR little endian, its length as told (default: the true one)."""
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    size = struct.pack("<HL", 0, length) if vr in _LONG else struct.pack("<H", length)
    return head + size + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    """One element (or item, or delimiter) of tag, 32-bit length and value."""
    size = len(value) if length is None else length
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, size) + value


ITEM_END = implicit(0xFFFEE00D, b"")
SEQUENCE_END = implicit(0xFFFEE0DD, b"")


def item(value: bytes) -> bytes:
    """An item of defined length."""
    return implicit(0xFFFEE000, value)


def open_item(value: bytes) -> bytes:
    """An item of undefined length."""
    return implicit(0xFFFEE000, value, UNDEFINED) + ITEM_END
