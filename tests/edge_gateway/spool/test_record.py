"""Records and segments as bytes: sums, seeds, and where a scan ends."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edge_gateway.spool.entry import RecordKind
from edge_gateway.spool.filesystem import FileSystem
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.record import (
    HEAD_BYTES,
    encode_record,
    is_body_valid,
    is_head_valid,
    parse_head,
    record_bytes,
)
from edge_gateway.spool.segment import SegmentFile, SegmentScan
from edge_gateway.spool.supply import lay_segment
from edge_gateway.spool.tail import SegmentTail
from tests.edge_gateway.spool.workload import SMALL_SEGMENTS

NUMBER = st.integers(0, 2**64 - 1)


@given(st.sampled_from(RecordKind), NUMBER, NUMBER, st.binary(), st.lists(st.binary()))
def test_record_is_read_as_written(
    kind: RecordKind, generation: int, sequence: int, meta: bytes, body: list[bytes]
) -> None:
    block = b"".join(encode_record(kind, generation, sequence, meta, body))
    whole = b"".join(body)
    head = parse_head(block)
    assert head is not None
    assert (head.kind, head.generation, head.sequence) == (kind, generation, sequence)
    assert len(block) == head.size_bytes == record_bytes(len(meta), len(whole))
    assert len(block) % 8 == 0
    assert block[HEAD_BYTES : head.body_offset_bytes] == meta
    assert is_head_valid(head, block, meta)
    assert is_body_valid(head, whole)


@given(st.binary(min_size=1, max_size=64), st.binary(min_size=1, max_size=64), st.data())
def test_any_flipped_bit_is_found(meta: bytes, body: bytes, data: st.DataObject) -> None:
    block = b"".join(encode_record(RecordKind.DELIVERY, 3, 4, meta, [body]))
    end = HEAD_BYTES + len(meta) + len(body)
    place = data.draw(st.integers(0, end * 8 - 1))
    torn = bytearray(block)
    torn[place // 8] ^= 1 << place % 8
    head = parse_head(bytes(torn))
    assert (
        head is None
        or (head.meta_bytes, head.body_bytes) != (len(meta), len(body))
        or not is_head_valid(head, bytes(torn), bytes(torn[HEAD_BYTES : head.body_offset_bytes]))
        or not is_body_valid(head, bytes(torn[head.body_offset_bytes : end]))
    )


@given(st.binary())
def test_any_bytes_are_parsed_without_a_fault(block: bytes) -> None:
    parse_head(block)
    parse_head(b"HiRc" + block)


def write_records(directory: Path, sequences: list[int], generation: int = 0) -> SegmentFile:
    fs, layout = FileSystem(), SpoolLayout(directory)
    layout.make(fs)
    laid = lay_segment(fs, layout, SMALL_SEGMENTS, 1)
    tail = SegmentTail(fs, laid.descriptor, laid.header)
    for sequence in sequences:
        life = generation or laid.header.generation
        record = encode_record(RecordKind.RECEIPT, life, sequence, b"{}", [b"x"])
        tail.write(record, range(sequence, sequence + 1))
    tail.close()
    return SegmentFile(fs, layout.segment(1))


def scanned(segment: SegmentFile, trusted_end_bytes: int = 0) -> tuple[SegmentScan, list[int]]:
    scan = SegmentScan(segment, trusted_end_bytes)
    sequences = []
    while (item := scan.next_record()) is not None:
        sequences.append(item[0].head.sequence)
    segment.close()
    return scan, sequences


def test_scan_ends_where_the_sequence_does_not_rise(tmp_path: Path) -> None:
    """What a torn write of an earlier start left whole behind the tail is never taken up."""
    _, sequences = scanned(write_records(tmp_path, [7, 9, 12, 8, 13]))
    assert sequences == [7, 9, 12]


def test_scan_ends_at_a_record_of_another_life(tmp_path: Path) -> None:
    _, sequences = scanned(write_records(tmp_path, [7, 8], generation=1))
    assert sequences == []


def test_scan_steps_over_rot_only_where_all_was_flushed(tmp_path: Path) -> None:
    segment = write_records(tmp_path, [1, 2, 3, 4])
    size_bytes = record_bytes(2, 1)
    content = bytearray(segment.path.read_bytes())
    content[4096 + size_bytes + 5] ^= 1
    segment.path.write_bytes(content)
    segment.close()
    for trusted_records, expected in ((0, [1]), (1, [1]), (2, [1, 3, 4]), (4, [1, 3, 4])):
        again = SegmentFile(FileSystem(), segment.path)
        scan, sequences = scanned(again, 4096 + trusted_records * size_bytes)
        assert sequences == expected
        assert bool(scan.damaged) == (trusted_records > 1)
