"""What no sender should send: the scan never raises, stays bounded, keeps what it could read."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
import zlib
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from edge_gateway.scan import HeaderReason, ScanLimits, ScannedHeader, scan_header
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
    item,
    open_item,
)

SEED = 20_240_131
MODALITY = element(0x00080060, "CS", b"CT")
SMALL_LIMITS = ScanLimits(
    element_bytes_max=4096, header_bytes_max=65_536, json_bytes_max=65_536, inflate_bytes_max=65_536
)


def scan(encoded: bytes, syntax: str = EXPLICIT, limits: ScanLimits | None = None) -> ScannedHeader:
    return scan_header(encoded, len(encoded), syntax, limits or ScanLimits())


def attributes(header: ScannedHeader) -> dict[str, dict[str, object]]:
    loaded = json.loads(header.header_json)
    assert isinstance(loaded, dict)
    assert list(loaded) == sorted(loaded)
    return loaded


def corpus_file(name: str) -> tuple[bytes, str]:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    data_set = data_set_of_file(Path(path))
    return data_set.encoded, data_set.transfer_syntax_uid


def deflated(encoded: bytes) -> bytes:
    pack = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return pack.compress(encoded) + pack.flush()


FUZZED = [
    "rtplan.dcm",
    "test-SR.dcm",
    "UN_sequence.dcm",
    "priv_SQ.dcm",
    "JPEG2000.dcm",
    "ExplVR_BigEnd.dcm",
    "nested_priv_SQ.dcm",
    "CT_small.dcm",
]


@pytest.mark.parametrize("name", FUZZED)
def test_mutated_bytes_never_raise_and_obey_the_limits(name: str) -> None:
    encoded, syntax = corpus_file(name)
    encoded = encoded[:12_000]
    random_bytes = random.Random(f"{SEED}/{name}")
    print(f"seed {SEED}")
    for _ in range(500):
        mutated = bytearray(encoded)
        for _ in range(random_bytes.choice((1, 1, 2, 8, 64))):
            at = random_bytes.randrange(len(mutated))
            mutated[at] = random_bytes.choice((0, 0xFF, 0xFE, 0xE0, random_bytes.randrange(256)))
        if random_bytes.random() < 0.2:
            cut = random_bytes.randrange(len(mutated))
            del mutated[cut : cut + random_bytes.randrange(16)]
        header = scan(bytes(mutated), syntax, SMALL_LIMITS)
        attributes(header)
        assert header.reason is not HeaderReason.SCANNER_FAULT
        assert len(header.header_json) <= SMALL_LIMITS.json_bytes_max + 2


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_random_bytes_never_raise(syntax: str) -> None:
    random_bytes = random.Random(f"{SEED}/{syntax}")
    for _ in range(500):
        noise = random_bytes.randbytes(random_bytes.randrange(200))
        header = scan(deflated(noise) if syntax == DEFLATED else noise, syntax, SMALL_LIMITS)
        attributes(header)
        assert header.reason is not HeaderReason.SCANNER_FAULT


@pytest.mark.parametrize("name", ["rtplan.dcm", "reportsi.dcm"])
def test_cut_at_every_byte_keeps_what_came_before(name: str) -> None:
    encoded, syntax = corpus_file(name)
    whole = attributes(scan(encoded, syntax))
    complete = 0
    for size in range(len(encoded)):
        header = scan(encoded[:size], syntax)
        kept = attributes(header)
        assert kept.items() <= whole.items()
        assert header.reason in (None, HeaderReason.TRUNCATED)
        complete += header.is_complete
    # Only a cut between two elements of the data set, or in front of all, looks whole; zero bytes
    # at the start of an element are padding.
    assert complete <= 4 * len(whole) + 1


def test_size_beyond_the_bytes_is_truncated() -> None:
    pixels = element(0x7FE00010, "OW", b"\1\2" * 8, 4096)
    header = scan_header(io.BytesIO(MODALITY + pixels), 5000, EXPLICIT)
    assert header.reason is HeaderReason.TRUNCATED
    assert attributes(header)["00080060"]["Value"] == ["CT"]


def test_deflate_bomb_stops_at_the_cap() -> None:
    bomb = deflated(MODALITY + element(0x00420011, "OB", bytes(200_000_000)))
    assert len(bomb) < 250_000
    limits = ScanLimits(inflate_bytes_max=8 * 1024 * 1024)
    tracemalloc.start()
    header = scan(bomb, DEFLATED, limits)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 200 MB are above the element limit, so they are passed over, as far as the cap allows.
    assert header.reason is HeaderReason.ELEMENT_TOO_LARGE
    assert peak_bytes < 4 * 1024 * 1024
    bomb = deflated(MODALITY + element(0x00420011, "OB", bytes(12_000_000)))
    assert scan(bomb, DEFLATED, limits).reason is HeaderReason.INFLATE_LIMIT


def test_deflate_stream_that_breaks_keeps_what_came_before() -> None:
    noise = random.Random(SEED).randbytes(300_000)
    whole = deflated(MODALITY + element(0x00420011, "OB", noise))
    cut = scan(whole[:100_000], DEFLATED)
    assert (cut.reason, list(attributes(cut))) == (HeaderReason.TRUNCATED, ["00080060"])
    assert scan(b"\xff" * 100, DEFLATED).reason is HeaderReason.MALFORMED
    padded = deflated(MODALITY) + b"\0"
    assert scan(padded, DEFLATED).is_complete


@pytest.mark.parametrize("depth", [32, 33, 300, 100_000])
def test_nesting_stops_at_the_limit(depth: int) -> None:
    head = element(0x00081140, "SQ", b"", UNDEFINED) + implicit(0xFFFEE000, b"", UNDEFINED)
    encoded = MODALITY + head * depth + (ITEM_END + SEQUENCE_END) * depth
    header = scan(encoded)
    assert header.reason is (None if depth <= 32 else HeaderReason.DEPTH)
    assert attributes(header)["00080060"]["Value"] == ["CT"]


def test_header_too_large_stops() -> None:
    many = b"".join(element(tag, "LO", b"x" * 100) for tag in range(0x00091001, 0x000914FF))
    header = scan(many, EXPLICIT, SMALL_LIMITS)
    assert header.reason is HeaderReason.HEADER_TOO_LARGE
    assert len(header.header_json) <= SMALL_LIMITS.json_bytes_max
    empty_items = element(0x00081140, "SQ", item(b"") * 20_000)
    assert scan(empty_items, EXPLICIT, SMALL_LIMITS).reason is HeaderReason.HEADER_TOO_LARGE
    fragments = implicit(0xFFFEE000, b"") * 2000 + SEQUENCE_END
    pixels = element(0x7FE00010, "OB", b"", UNDEFINED) + fragments
    limits = ScanLimits(pixel_fragments_max=1000)
    assert scan(pixels, EXPLICIT, limits).reason is HeaderReason.HEADER_TOO_LARGE


def test_known_elements_count_against_the_limits_too() -> None:
    again = element(0x00100020, "LO", b"x" * 100) * 5000
    header = scan(again, EXPLICIT, SMALL_LIMITS)
    assert header.reason is HeaderReason.HEADER_TOO_LARGE
    # Two windows of 128 KiB for a limit of 64 KiB, and then no more.
    limits = ScanLimits(json_bytes_max=300_000)
    assert scan(again, EXPLICIT, limits).reason is HeaderReason.HEADER_TOO_LARGE


def test_element_too_large_is_named_by_length_and_passed_over() -> None:
    large = element(0x00420011, "OB", bytes(5000))
    header = scan(MODALITY + large + element(0x00420012, "LO", b"a/b "), EXPLICIT, SMALL_LIMITS)
    assert header.reason is HeaderReason.ELEMENT_TOO_LARGE
    assert attributes(header)["00420011"]["BulkDataURI"] == "sha256:?length=5000"
    assert attributes(header)["00420012"]["Value"] == ["a/b"]


class CountedFile(io.BytesIO):
    """A file that counts what is read from it; the pixel data is a hole."""

    def __init__(self, head: bytes, hole_bytes: int, tail: bytes) -> None:
        super().__init__(head)
        self.hole_bytes, self.tail, self.head_bytes = hole_bytes, tail, len(head)
        self.position, self.bytes_read = 0, 0

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset
        return offset

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert size >= 0
        parts = []
        for begin, content in (
            (0, self.getvalue()),
            (self.head_bytes + self.hole_bytes, self.tail),
        ):
            start = max(0, self.position - begin)
            parts.append(content[start : max(0, self.position + size - begin)])
        in_hole = min(size, max(0, self.head_bytes + self.hole_bytes - self.position))
        data = parts[0] + bytes(max(0, in_hole - len(parts[0]))) + parts[1]
        self.bytes_read += len(data)
        self.position += len(data)
        return data


def test_pixel_data_of_four_gibibytes_is_not_read() -> None:
    size = 4 * 1024**3 - 4
    head = MODALITY + element(0x7FE00010, "OW", b"", size)
    padding = element(0xFFFCFFFC, "OB", bytes(16))
    file = CountedFile(head, size, padding)
    header = scan_header(file, len(head) + size + len(padding), EXPLICIT)
    assert header.is_complete
    assert attributes(header)["7FE00010"]["BulkDataURI"] == f"sha256:?length={size}"
    assert "FFFCFFFC" in attributes(header)
    assert file.bytes_read < 300_000


def test_zero_padding_behind_the_data_set_is_no_fault() -> None:
    assert scan(MODALITY + bytes(3)).is_complete
    assert scan(MODALITY + bytes(4096)).is_complete
    assert scan(bytes(128) + b"DICM" + MODALITY).reason is HeaderReason.MALFORMED
    assert scan(MODALITY + bytes(2 * 1024 * 1024)).reason is HeaderReason.MALFORMED
    assert scan(b"").header_json == b"{}"


def test_broken_sequence_of_known_length_costs_only_itself() -> None:
    broken = element(0x00081140, "SQ", b"no items at all ")
    header = scan(MODALITY + broken + element(0x00100020, "LO", b"P1"))
    assert header.reason is HeaderReason.MALFORMED
    assert attributes(header)["00081140"] == {"vr": "SQ", "BulkDataURI": "sha256:?length=16"}
    assert attributes(header)["00100020"]["Value"] == ["P1"]


def test_group_length_of_undefined_length_is_left_out() -> None:
    items = open_item(MODALITY) + SEQUENCE_END
    header = scan(element(0x00080000, "SQ", items, UNDEFINED) + MODALITY)
    assert header.is_complete
    assert list(attributes(header)) == ["00080060"]


def test_unsorted_and_repeated_elements_are_put_in_order() -> None:
    patient = element(0x00100020, "LO", b"P1")
    header = scan(patient + MODALITY)
    assert header.header_json.startswith(b'{"00080060"')
    assert header.is_complete
    header = scan(MODALITY + element(0x00080060, "CS", b"MR") + patient)
    assert attributes(header)["00080060"]["Value"] == ["MR"]
    assert header.reason is HeaderReason.MALFORMED


def test_private_transfer_syntax_is_not_parsed() -> None:
    header = scan(MODALITY, "1.2.840.113619.5.2")
    assert header.header_json == b"{}"
    assert header.reason is HeaderReason.PRIVATE_TRANSFER_SYNTAX


def test_stray_delimiters_are_stepped_over() -> None:
    sequence = element(0x00081140, "SQ", item(MODALITY) + SEQUENCE_END)
    header = scan(sequence + SEQUENCE_END + ITEM_END + element(0x00100020, "LO", b"P1"))
    assert header.is_complete
    assert list(attributes(header)) == ["00081140", "00100020"]


def test_open_items_inside_sequences_of_known_length() -> None:
    header = scan(element(0x00081140, "SQ", open_item(MODALITY) + item(MODALITY)))
    assert header.is_complete
    assert len(list(attributes(header)["00081140"]["Value"])) == 2  # type: ignore[call-overload]
