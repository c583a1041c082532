"""The receive path's look at SOP Class and SOP Instance UID."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from edge_gateway.scan import HEAD_BYTES_MAX, Unreadable, identifying_uids
from tests.edge_gateway.scan.oracle import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    data_set_of_file,
)
from tests.edge_gateway.scan.synthetic import (
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    element,
    implicit,
    open_item,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
UIDS = element(0x00080016, "UI", CT.encode() + b"\0") + element(0x00080018, "UI", b"1.2.3\0")


def look(encoded: bytes, syntax: str = EXPLICIT) -> object:
    return identifying_uids(memoryview(encoded)[:HEAD_BYTES_MAX], syntax)


@pytest.mark.parametrize(
    ("name", "sop_instance_uid"),
    [
        ("CT_small.dcm", "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"),
        ("rtplan.dcm", "1.2.777.777.77.7.7777.7777.20030903150023"),
        ("ExplVR_BigEnd.dcm", "1.2.840.1136190195280574824680000700.3.0.1.19970424140438"),
        ("image_dfl.dcm", "1.3.6.1.4.1.5962.1.1.0.0.0.977067309.6001.0"),
    ],
)
def test_uids_of_real_data_sets(name: str, sop_instance_uid: str) -> None:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    data_set = data_set_of_file(Path(path))
    found = look(data_set.encoded, data_set.transfer_syntax_uid)
    assert isinstance(found, tuple)
    assert found[1] == sop_instance_uid


def test_private_syntax_is_skipped() -> None:
    assert look(UIDS, "1.2.840.113619.5.2") is Unreadable.SKIPPED


def test_absent_and_empty_elements_are_none() -> None:
    later = element(0x00080060, "CS", b"CT")
    assert look(later) == (None, None)
    assert look(b"") == (None, None)
    assert look(element(0x00080018, "UI", b"1.2.3\0") + later) == (None, "1.2.3")
    assert look(element(0x00080016, "UI", b"") + later) == (None, None)


def test_elements_in_front_are_stepped_over() -> None:
    # (0008,0006) may be a sequence of undefined length, with anything nested in it.
    nested = element(0x00081140, "SQ", open_item(UIDS), UNDEFINED) + SEQUENCE_END
    language = element(0x00080006, "SQ", open_item(nested), UNDEFINED) + SEQUENCE_END
    charset = element(0x00080005, "CS", b"ISO_IR 100")
    assert look(charset + language + UIDS) == (CT, "1.2.3")
    assert look(charset + language) == (None, None)


def test_a_syntax_that_the_bytes_contradict_is_read_as_what_it_is() -> None:
    bare = implicit(0x00080016, CT.encode() + b"\0") + implicit(0x00080018, b"1.2.3\0")
    for syntax in (IMPLICIT, EXPLICIT, BIG_ENDIAN):
        assert look(UIDS, syntax) == (CT, "1.2.3")
        assert look(bare, syntax) == (CT, "1.2.3")


def test_nothing_beyond_64_kib_is_looked_at() -> None:
    far = element(0x00080006, "SQ", bytes(70_000)) + UIDS
    assert look(far) is Unreadable.TRUNCATED
    filler = element(0x00080006, "SQ", bytes(HEAD_BYTES_MAX - 12))
    assert look(filler + UIDS) is Unreadable.TRUNCATED
    pack = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = pack.compress(element(0x00080006, "SQ", bytes(50_000_000)) + UIDS) + pack.flush()
    assert look(bomb, DEFLATED) is Unreadable.TRUNCATED


def test_what_is_no_data_set_is_malformed_or_truncated() -> None:
    assert look(bytes(128) + b"DICM" + UIDS) is Unreadable.MALFORMED
    assert look(b"\xff" * 100, DEFLATED) is Unreadable.MALFORMED
    assert look(element(0x00080008, "CS", b"A ") * 2 + UIDS) is Unreadable.MALFORMED
    for size in range(1, len(UIDS)):
        found = look(UIDS[:size])
        assert found in (Unreadable.TRUNCATED, (CT, None)), size
    endless = element(0x00080006, "SQ", b"", UNDEFINED) + ITEM_END * 3
    assert look(endless * 100) is not None
