"""Data sets written by hand, each with something that writers or attackers do. All synthetic.

Invariant: the same list each time; what is broken is broken on purpose, and the rest is valid.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.edge_gateway.scan.synthetic import (
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    element,
    implicit,
    item,
    open_item,
)

CT = b"1.2.840.10008.5.1.4.1.1.2\0"
MODALITY, PATIENT = element(0x00080060, "CS", b"CT"), element(0x00100020, "LO", b"P1")
INSIDE = element(0x00081150, "UI", CT)
UIDS = element(0x00080016, "UI", CT) + element(0x00080018, "UI", b"1.2.3\0")


def structures() -> Iterator[bytes]:
    """Explicit VR little endian: nesting, delimiters, fragments, lengths."""
    yield MODALITY + bytes(7)
    yield MODALITY + bytes(80)
    yield PATIENT + MODALITY + MODALITY
    yield element(0x00080000, "UL", b"\4\0\0\0") + UIDS
    yield element(0x00080006, "SQ", open_item(INSIDE), UNDEFINED) + SEQUENCE_END + UIDS
    yield element(0x00081140, "SQ", item(INSIDE) + SEQUENCE_END + open_item(PATIENT))
    yield element(0x00081140, "SQ", b"no items at all ") + PATIENT
    yield element(0x00081140, "SQ", item(element(0x00100020, "LO", b"P1", 60))) + PATIENT
    yield element(0x00081140, "SQ", item(INSIDE)[:12], UNDEFINED)
    nested = INSIDE
    for _ in range(40):
        nested = element(0x00081140, "SQ", open_item(nested), UNDEFINED) + SEQUENCE_END
    yield nested
    yield nested[: 12 * 5] + PATIENT
    fragments = item(b"") + item(b"abcd") * 9
    yield element(0x7FE00010, "OB", fragments, UNDEFINED) + SEQUENCE_END + PATIENT
    yield element(0x7FE00010, "OB", item(b"abcd"), UNDEFINED) + PATIENT + SEQUENCE_END
    yield element(0x00281201, "OW", fragments, UNDEFINED) + SEQUENCE_END
    yield element(0x00420011, "OB", bytes(700)) + element(0x0040A160, "UT", b"x" * 300)
    yield element(0x00091001, "UN", implicit(0xFFFEE000, implicit(0x00100020, b"P1")), UNDEFINED)
    un_items = implicit(0xFFFEE000, element(0x00100020, "LO", b"P1")) + SEQUENCE_END
    yield element(0x00091001, "UN", un_items, UNDEFINED) + PATIENT


def ends_and_orders() -> Iterator[bytes]:
    """Explicit VR little endian: cuts, padding, repetition, too many of something."""
    yield ITEM_END + SEQUENCE_END + PATIENT
    yield item(PATIENT)
    yield bytes(128) + b"DICM" + MODALITY
    yield element(0x0020000D, "UI", b"1.2.3\0") + UIDS + element(0x0020000E, "UI", b"no uid")
    yield UIDS[:-3]
    yield element(0x00080018, "UI", b"") + element(0x00080016, "UI", b"\0\0")
    yield b"".join(element(0x00091000 + n, "LO", b"%06d" % n) for n in range(700))
    yield b"".join(element(0x00090010 + n, "LO", b"CREATOR%03d" % n) for n in range(20))
    yield element(0x7FE00010, "OB", item(bytes(8))[:12], UNDEFINED)
    yield element(0x0040A160, "UT", b"x" * 10)[:10]
    yield element(0x00080006, "SQ", open_item(INSIDE)[:14], UNDEFINED)
    yield element(0x00080016, "UI", CT)
    deeper = element(0x00081140, "SQ", open_item(INSIDE), UNDEFINED) + SEQUENCE_END
    yield element(0x00081115, "SQ", item(deeper + element(0x00081140, "SQ", item(INSIDE))))
    yield element(0x00081115, "SQ", item(deeper))[:-3]
    yield element(0x00080000, "SQ", open_item(INSIDE), UNDEFINED) + SEQUENCE_END + PATIENT


def values() -> Iterator[bytes]:
    """Explicit VR little endian: values that are strange for their VR or character set."""
    yield element(0x00280103, "UN", b"\1\0") + element(0x00280106, "UN", b"\xff\xff")
    yield element(0x00281101, "SS", b"\xff\xff\5\0\x10\0") + element(0x00281101, "SS", b"")
    yield element(0x00281102, "SS", b"\xff")
    yield struct.pack("<HH2sH", 0x0010, 0x0020, b"ZZ", 2) + b"P1" + MODALITY
    yield struct.pack("<HH2sHL", 0x0010, 0x0020, b"ZZ", 0, 2) + b"P1" + MODALITY
    yield MODALITY + implicit(0x00100020, b"P1") + PATIENT
    yield element(0x00280010, "US", b"abc") + element(0x00280009, "AT", b"abc")
    yield element(0x00200013, "IS", b"1.0\\ 7\\x\\9999999999999999\\1e30")
    yield element(0x00200032, "DS", b"1e999\\1_0\\-.5\\")
    yield element(0x00100010, "PN", b"A^B\\=\\==C ") + element(0x00080054, "AE", b" \\ ")
    yield element(0x00080005, "CS", b"ISO 2022 IR 6\\ISO 2022 IR 87 \\ISO_IR 192") + PATIENT
    yield element(0x00080005, "CS", b"") + element(0x00100010, "PN", b"\x1b$B;3\x1b(B\x1bx")
    latin = element(0x00080005, "CS", b"ISO_IR 100")
    greek = element(0x00080005, "CS", b"\\ISO 2022 IR 126")
    name = element(0x00100010, "PN", b"\xe4^\x1b-F\xe4\t\xe4=\x1b-A\xe4 ")
    yield element(0x00081140, "SQ", item(name)) + name
    yield latin + element(0x00081140, "SQ", item(greek + name) + item(name)) + name
    creator = element(0x00430010, "LO", b"GEMS_PARM_01")
    yield creator + element(0x00431027, "UN", b"12\\34 ") + element(0x00431000, "UN", b"\0" * 4)
    other = element(0x00430010, "LO", b"SYNTHETIC 01")
    private = element(0x00431027, "UN", b"12\\34 ")
    yield element(0x00081140, "SQ", item(creator + private) + item(other + private))
    yield element(0x00080016, "UI", b"1.2.34") + element(0x00080018, "UI", b"1.2.3456")
    yield element(0x00430010, "LO", b"x" * 300) + element(0x00431027, "UN", b"12\\34 ")


def implicit_ones() -> Iterator[bytes]:
    """Implicit VR little endian: what the dictionaries and earlier elements decide."""
    patient = implicit(0x00100020, b"P1")
    yield implicit(0x00280106, b"\xff\xff") + implicit(0x00280103, b"\1\0") + patient
    yield implicit(0x00283002, b"\1\0\0\0\x10\0") + implicit(0x00283006, b"\1\0")
    yield implicit(0x00283002, b"\1") + implicit(0x00283006, b"\1\0\2\0") + patient[:9]
    yield implicit(0x00081140, item(patient) + open_item(patient))
    yield implicit(0x00081140, open_item(patient), UNDEFINED) + SEQUENCE_END
    yield implicit(0x00430010, b"GEMS_PARM_01") + implicit(0x00431027, b"12\\34 ")
    yield implicit(0x60003000, bytes(40)) + implicit(0x7FE00010, bytes(8))
    yield implicit(0x00111001, bytes(20)) + element(0x00080060, "CS", b"CT")
    yield implicit(0x00080016, CT) + implicit(0x00080018, b"1.2.3\0") + patient
