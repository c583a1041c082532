"""Data sets to start from: every VR, encoding, character set, nesting and limit. All synthetic.

Invariant: the same list each time; no value is a person's.
"""

from __future__ import annotations

import functools
import struct
import warnings
import zlib
from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.edge_gateway.scan.synthetic import (
    ALPHABETS,
    ITEM_END,
    SEQUENCE_END,
    element,
    encode,
    item,
)
from tests.fuzz import scan_seeds_by_hand as by_hand
from tests.fuzz.scan_target import CUT_FILE, IN_FILE, PACK, SMALL, SYNTAXES, WARM

IMPLICIT, EXPLICIT, BIG, DEFLATE, JPEG2000, JPIP, PAPYRUS, PRIVATE = range(8)
_VRS = b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US OB OD OF OL OV OW SQ SV UC"
TOKENS = (
    *(_VRS + b" UN UR UT UV ZZ").split(),
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0",
    b"\xfe\xff\xdd\xe0",
    ITEM_END,
    SEQUENCE_END,
    b"\xff\xff\xff\xff",
    b"\x08\x00\x05\x00CS",
    b"\x28\x00\x03\x01US\x02\x00\x01\x00",
    b"\xe0\x7f\x10\x00",
    b"ISO 2022 IR 87",
    b"\\ISO 2022 IR 149",
    b"ISO_IR 192",
    b"GB18030",
    b"\x1b$B",
    b"\x1b$)C",
    b"\x1b(B",
    b"\\",
    b"=",
    b"\0\0\0\0",
)


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """Cases of every kind, the valid ones first."""
    return tuple(_seeds())


def _seeds() -> Iterator[bytes]:
    for data_set in _data_sets():
        for mode, syntax in enumerate(SYNTAXES[:4]):
            # pydicom pads what it writes; the case deflates.
            encoded = encode(data_set, syntax if mode != DEFLATE else SYNTAXES[EXPLICIT])
            yield bytes((mode | (PACK if mode == DEFLATE else 0),)) + encoded
    for encoded in _explicit_by_hand():
        yield bytes((EXPLICIT,)) + encoded
        yield bytes((EXPLICIT | SMALL,)) + encoded
        yield bytes((EXPLICIT | CUT_FILE | WARM,)) + encoded
        yield bytes((DEFLATE | SMALL | PACK | IN_FILE,)) + encoded
        yield bytes((IMPLICIT | CUT_FILE,)) + encoded
    for encoded in by_hand.implicit_ones():
        yield bytes((IMPLICIT | IN_FILE,)) + encoded
        yield bytes((PAPYRUS | SMALL,)) + encoded
    yield bytes((BIG | WARM,)) + encode_big(_other_order()) + b"\0\x28\x12\1OW\0\0\0\0\0\3abc"
    yield bytes((DEFLATE,)) + b"\xff" * 20  # no deflate stream
    # Longer than what is read at once, and shorter than is said.
    yield bytes((EXPLICIT | CUT_FILE,)) + element(0x00420011, "OB", bytes(140_000)) + bytes(80)
    for mode in (JPEG2000, JPIP | PACK, PRIVATE, BIG | SMALL | IN_FILE):
        yield bytes((mode,)) + element(0x00080060, "CS", b"CT")
    yield from _oversize()


def _explicit_by_hand() -> Iterator[bytes]:
    yield from by_hand.structures()
    yield from by_hand.ends_and_orders()
    yield from by_hand.values()
    yield encode_big(_other_order()) + by_hand.MODALITY


def valid() -> tuple[bytes, ...]:
    """Those of `seeds` that are valid data sets, in every encoding."""
    return seeds()[: 4 * sum(1 for _ in _data_sets())]


def _data_sets() -> Iterator[Dataset]:
    yield Dataset()
    yield _every_vr()
    for charset, letters in sorted(ALPHABETS.items()):
        data_set = Dataset()
        data_set.add_new(0x00080005, "CS", charset.split("\\"))
        text = letters.replace("\u0001", "")
        data_set.add_new(0x00100010, "PN", f"{text}^{text}={text}=a")
        data_set.add_new(0x00081030, "LO", [text, text[::-1]])
        data_set.add_new(0x00104000, "LT", f"{text}\r\n{text}")
        yield data_set
    for signed in (0, 1):
        data_set = Dataset()
        data_set.add_new(0x00280103, "US", signed)
        data_set.add_new(0x00280106, "SS" if signed else "US", 7)
        data_set.add_new(0x00281101, "SS" if signed else "US", [0, 1, 16])
        data_set.add_new(0x00283002, "US", [1, 0, 16])
        data_set.add_new(0x00283006, "US", [1])
        yield data_set


def _every_vr() -> Dataset:
    inner = Dataset()
    inner.add_new(0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.2")
    inner.add_new(0x00081155, "UI", "1.2.826.0.1.3680043.8.498.5")
    data_set = Dataset()
    for tag, vr, value in (
        (0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2"),
        (0x00080018, "UI", "1.2.826.0.1.3680043.8.498.7"),
        (0x00080020, "DA", "20240131"),
        (0x0008002A, "DT", "20240131120000.5"),
        (0x00080030, "TM", ["1201", "120102.25"]),
        (0x00080054, "AE", ["NORTH", " SOUTH"]),
        (0x00080060, "CS", "CT"),
        (0x00080119, "UC", ["one", "two"]),
        (0x00080120, "UR", "http://example.org/a?b=%20c"),
        (0x00081163, "FD", [1.5, float("inf"), float("nan")]),
        (0x00089459, "FL", -0.25),
        (0x00101010, "AS", "031Y"),
        (0x00186016, "UL", [1, 2**32 - 1]),
        (0x00186020, "SL", [-1, 2**31 - 1]),
        (0x00189219, "SS", [-(2**15), 5]),
        (0x0020000D, "UI", "1.2.826.0.1.3680043.8.498.3"),
        (0x0020000E, "UI", "1.2.826.0.1.3680043.8.498.4"),
        (0x00200013, "IS", [12, -3]),
        (0x00200032, "DS", ["1.5", "-2e3"]),
        (0x00280009, "AT", [0x00181063]),
        (0x00281201, "OW", bytes(range(64))),
        (0x00420011, "OB", bytes(1500)),
        (0x00660016, "OF", struct.pack("<2f", 1.5, 2.5)),
        (0x00660040, "OL", struct.pack("<2I", 1, 2)),
        (0x00720073, "OD", struct.pack("<d", 1.5)),
        (0x00720082, "SV", [-(2**60), 5]),
        (0x00720083, "UV", [2**63, 5]),
        (0x7FE00001, "OV", struct.pack("<Q", 258)),
        (0x00080081, "ST", "street"),
        (0x0040A160, "UT", "text\\more"),
        (0x00080050, "SH", "A1"),
    ):
        data_set.add_new(tag, vr, value)
    data_set.add_new(0x00081140, "SQ", Sequence([inner, Dataset()]))
    data_set.add_new(0x00081115, "SQ", Sequence([inner]))
    data_set[0x00081115].is_undefined_length = True
    inner.is_undefined_length_sequence_item = True
    for name, number in (("SYNTHETIC", 0x0019), ("GEMS_PARM_01", 0x0043)):
        block = data_set.private_block(number, name, create=True)
        block.add_new(0x27, "UN", b"12\\34 ")
        block.add_new(0x02, "LO", "value")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set.add_new(0x7FE00010, "OW", bytes(40))
    return data_set


def _other_order() -> Dataset:
    """One element, to be written in the other byte order than is said."""
    data_set = Dataset()
    data_set.add_new(0x00080060, "CS", "CT")
    data_set.add_new(0x00280010, "US", 258)
    return data_set


def encode_big(data_set: Dataset) -> bytes:
    """The data set in explicit VR big endian."""
    return encode(data_set, SYNTAXES[BIG])


def _sequences(text: bytes) -> bytes:
    """Two large ones and three that are hardly worth giving up."""
    small = b"".join(
        element(0x00081200 + n, "SQ", item(element(0x0040A160, "UT", b"x" * 5_000)))
        for n in range(3)
    )
    large = element(0x00081140, "SQ", item(text) * 9) + element(0x00081115, "SQ", item(text) * 10)
    return large + small


def _oversize() -> Iterator[bytes]:
    """Deflate bombs: past the cap of the small limits, and past what an event can carry."""
    text = element(0x0040A160, "UT", b"x" * 60_000)
    texts = b"".join(element(0x00091001 + n, "UT", b"z" * 60_000) for n in range(20))
    for encoded in (
        element(0x00081140, "SQ", item(text) * 30) + element(0x00100020, "LO", b"P1"),
        element(0x00081140, "SQ", item(text) * 18),
        element(0x00081140, "SQ", item(text) * 4),
        _sequences(text) + texts,
        texts,
        element(0x00100020, "UN", bytes(70_000)),
        element(0x7FE00010, "OW", bytes(100_000)),
    ):
        packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        packed = packer.compress(encoded) + packer.flush()
        for mode in (DEFLATE, DEFLATE | SMALL):
            yield bytes((mode,)) + packed
            yield bytes((mode,)) + packed[:-9]
