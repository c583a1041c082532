"""A header too large for its event gives up its largest sequences, and always fits."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zlib

import zstandard

from edge_gateway.scan import EventLimits, HeaderReason, ScannedHeader, fit_event, scan_header
from tests.edge_gateway.scan.oracle import DEFLATED, EXPLICIT
from tests.edge_gateway.scan.synthetic import SEQUENCE_END, UNDEFINED, element, item, open_item

LIMITS = EventLimits()
PATIENT = element(0x00100020, "LO", b"P1")


def scan(encoded: bytes) -> ScannedHeader:
    return scan_header(encoded, len(encoded), EXPLICIT)


def noise(size_bytes: int, seed: int = 1) -> bytes:
    """Items of text that does not compress, about as many bytes of JSON as asked for."""
    letters = random.Random(seed)
    text = bytes(letters.randrange(0x21, 0x5B) for _ in range(size_bytes))
    pieces = [text[at : at + 60_000] for at in range(0, size_bytes, 60_000)]
    return b"".join(item(element(0x0040A160, "UT", piece)) for piece in pieces)


def assert_fits(header_json: bytes) -> dict[str, dict[str, object]]:
    assert len(header_json) <= LIMITS.plain_bytes_max
    assert len(zstandard.compress(header_json, 3)) <= LIMITS.compressed_bytes_max
    loaded = json.loads(header_json)
    assert isinstance(loaded, dict)
    return loaded


def test_a_header_that_fits_is_unchanged() -> None:
    header = scan(PATIENT)
    fitted = fit_event(header)
    assert (fitted.header_json, fitted.is_complete, fitted.reason) == (
        header.header_json,
        True,
        None,
    )
    # 3 MB of JSON that repeats itself, as in an enhanced CT, fit compressed.
    frames = item(element(0x00080060, "CS", b"CT") + PATIENT) * 40_000
    header = scan(element(0x52009230, "SQ", frames))
    assert len(header.header_json) > 2_500_000
    assert fit_event(header).header_json == header.header_json


def test_the_largest_sequence_goes_first_and_is_named_by_its_hash() -> None:
    small, large = noise(300_000), noise(1_500_000, seed=2)
    encoded = element(0x00081140, "SQ", small) + PATIENT + element(0x52009230, "SQ", large)
    header = scan(encoded)
    assert header.is_complete
    fitted = fit_event(header)
    assert (fitted.is_complete, fitted.reason) == (False, HeaderReason.OVERSIZE)
    found = assert_fits(fitted.header_json)
    digest = hashlib.sha256(large).hexdigest()
    uri = f"sha256:{digest}?length={len(large)}"
    assert found["52009230"] == {"vr": "SQ", "BulkDataURI": uri}
    assert found["00081140"] == json.loads(header.header_json)["00081140"]
    assert found["00100020"]["Value"] == ["P1"]


def test_the_hash_is_the_same_for_files_streams_and_open_sequences() -> None:
    value = open_item(element(0x0008103E, "LO", b"open")) + noise(1_200_000)
    encoded = PATIENT + element(0x52009230, "SQ", value, UNDEFINED) + SEQUENCE_END
    pack = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    deflated = pack.compress(encoded) + pack.flush()
    expected = fit_event(scan(encoded))
    assert hashlib.sha256(value).hexdigest().encode() in expected.header_json
    assert fit_event(scan_header(io.BytesIO(encoded), len(encoded), EXPLICIT)) == expected
    assert fit_event(scan_header(deflated, len(deflated), DEFLATED)) == expected


def test_plain_size_counts_too() -> None:
    frames = item(element(0x0040A160, "UT", b"x" * 60_000)) * 300
    header = scan(PATIENT + element(0x52009230, "SQ", frames))
    assert len(header.header_json) > LIMITS.plain_bytes_max
    found = assert_fits(fit_event(header).header_json)
    assert str(found["52009230"]["BulkDataURI"]).endswith(f"?length={len(frames)}")


def test_many_middling_sequences_go_in_few_rounds() -> None:
    encoded = b"".join(
        element(0x00091000 + number, "SQ", noise(20_000, seed=number)) for number in range(100)
    )
    found = assert_fits(fit_event(scan(encoded + PATIENT)).header_json)
    kept = sum("Value" in attribute for attribute in found.values())
    assert len(found) == 101
    assert 10 < kept < 60


def test_without_sequences_the_smallest_elements_stay() -> None:
    letters = random.Random(3)
    encoded = PATIENT + b"".join(
        element(0x00111001 + number, "UT", letters.randbytes(60_000)) for number in range(60)
    )
    fitted = fit_event(scan(encoded))
    found = assert_fits(fitted.header_json)
    assert fitted.reason is HeaderReason.OVERSIZE
    assert found["00100020"]["Value"] == ["P1"]
    assert list(found) == sorted(found)


def test_an_earlier_reason_is_kept() -> None:
    encoded = element(0x52009230, "SQ", noise(1_200_000)) + b"cut off"
    fitted = fit_event(scan(encoded))
    assert (fitted.is_complete, fitted.reason) == (False, HeaderReason.TRUNCATED)
