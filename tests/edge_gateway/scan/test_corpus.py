"""The scan against pydicom on every file that pydicom brings along, with every difference listed.

The files are those of the installed package only, never downloaded ones.
"""

from __future__ import annotations

import io
import json
import logging
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pydicom.data
import pytest

from edge_gateway.scan import HeaderReason, ScannedHeader, scan_header
from tests.edge_gateway.scan.oracle import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    DataSetBytes,
    Difference,
    data_set_of_file,
    differences,
    pydicom_data_set,
)

CORPUS = Path(pydicom.data.__file__).parent
NOT_DICOM = {".py", ".pyc", ".json", ".txt", ".dump", ".gz", ".icc", ".zip", ".md", ".pem"}
# Bare data sets say no transfer syntax; this is what a sender would have negotiated.
NEGOTIATED = {"ExplVR_BigEndNoMeta.dcm": BIG_ENDIAN}
# What is broken in the corpus, and how.
INCOMPLETE = {
    "DICOMDIR-nooffset": HeaderReason.MALFORMED,  # an item reaches beyond its sequence
    "MR_truncated.dcm": HeaderReason.TRUNCATED,
    "README": HeaderReason.TRUNCATED,  # a text, not DICOM
    "no_meta.dcm": HeaderReason.TRUNCATED,  # a stray byte in front: no data set in any syntax
    "rtplan_truncated.dcm": HeaderReason.TRUNCATED,
    "winter.dcm": HeaderReason.MALFORMED,  # (0008,0018) twice
}

# Every kind of difference, why it is one, and how often the corpus has it.
EXPECTED = {
    "group length": ("PS3.18 F.2.2 leaves (gggg,0000) out; pydicom keeps it", 40),
    "empty sequence has no Value": ("PS3.18 F.2.5; pydicom writes an empty Value", 8),
    "empty value is null": ("PS3.18 F.2.5; pydicom writes an empty string", 6),
    "padding of an inner value": (
        "padding is not significant (PS3.5 6.2); pydicom strips the last value only",
        3,
    ),
    "unreadable for pydicom": ("IS of letters: a string here (F.2.3), an exception there", 1),
    "element cut off": ("pydicom keeps the stump of a cut element without a word", 4),
    "broken sequence": ("pydicom reads on beyond the sequence's end", 1),
}


def corpus() -> Iterator[DataSetBytes]:
    for path in sorted(CORPUS.rglob("*")):
        if path.is_file() and path.suffix not in NOT_DICOM:
            data_set = data_set_of_file(path)
            syntax = NEGOTIATED.get(path.name, data_set.transfer_syntax_uid)
            yield DataSetBytes(data_set.name, data_set.encoded, syntax)


def scan(data_set: DataSetBytes) -> ScannedHeader:
    return scan_header(data_set.encoded, len(data_set.encoded), data_set.transfer_syntax_uid)


def test_scan_agrees_with_pydicom_but_for_listed_differences() -> None:
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    found: list[tuple[str, Difference]] = []
    incomplete = {}
    for data_set in corpus():
        header = scan(data_set)
        if header.reason:
            incomplete[data_set.name] = header.reason
        oracle = pydicom_data_set(data_set.encoded, data_set.transfer_syntax_uid)
        found += [(data_set.name, one) for one in differences(header, oracle)]
    unexplained = [(name, one) for name, one in found if one.kind not in EXPECTED]
    assert not unexplained, unexplained[:5]
    counted = Counter(one.kind for _, one in found)
    assert dict(counted) == {kind: count for kind, (_, count) in EXPECTED.items()}
    assert incomplete == INCOMPLETE


@pytest.mark.parametrize("spoil", ["private creator", "value", "vr", "nested"])
def test_oracle_notices_what_a_scan_would_lose(spoil: str) -> None:
    data_set = next(one for one in corpus() if one.name == "CT_small.dcm")
    header = scan(data_set)
    spoiled = json.loads(header.header_json)
    if spoil == "private creator":
        assert spoiled["00190010"]["Value"] == ["GEMS_ACQU_01"]
        del spoiled["00190010"]
    elif spoil == "value":
        spoiled["00100010"]["Value"] = [{"Alphabetic": "Other"}]
    elif spoil == "vr":
        spoiled["00280120"]["vr"] = "US"
    else:
        del spoiled["00101002"]["Value"][0]["00100020"]
    oracle = pydicom_data_set(data_set.encoded, data_set.transfer_syntax_uid)
    changed = replace(header, header_json=json.dumps(spoiled).encode())
    kinds = {one.kind for one in differences(changed, oracle)}
    assert kinds - EXPECTED.keys()


def test_every_kind_of_source_gives_the_same_header() -> None:
    for data_set in corpus():
        expected = scan(data_set)
        size, syntax = len(data_set.encoded), data_set.transfer_syntax_uid
        assert scan_header(memoryview(data_set.encoded), size, syntax) == expected
        behind = io.BytesIO(b"preamble" + data_set.encoded + b"what follows is not ours")
        behind.seek(8)
        assert scan_header(behind, size, syntax) == expected
        if syntax == EXPLICIT:
            pack = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            deflated = pack.compress(data_set.encoded) + pack.flush()
            inflated = scan_header(deflated, len(deflated), DEFLATED)
            # A stream shows that pixel data is cut only behind it.
            assert inflated.reason == expected.reason
            assert inflated == expected or expected.reason is HeaderReason.TRUNCATED


@pytest.mark.parametrize("declared", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_encoding_is_found_where_a_sender_lies_about_it(declared: str) -> None:
    for data_set in corpus():
        honest = scan(data_set)
        # Every storage object begins with group 0008, which is what shows the byte order.
        is_storage = honest.header_json.startswith(b'{"0008') and honest.is_complete
        if is_storage and data_set.transfer_syntax_uid != DEFLATED:
            told = scan_header(data_set.encoded, len(data_set.encoded), declared)
            assert told == honest, data_set.name


def test_second_scan_from_the_memo_equals_the_first() -> None:
    for data_set in corpus():
        assert scan(data_set) == scan(data_set)


def test_uids_are_those_of_the_data_set() -> None:
    header = scan(next(one for one in corpus() if one.name == "CT_small.dcm"))
    assert header.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"
    assert header.sop_instance_uid == "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
    assert header.study_instance_uid == "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
    assert header.series_instance_uid == "1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322"
