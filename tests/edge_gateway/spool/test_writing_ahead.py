"""A lone data set is hashed while the disk works on it: what is written, when, and what fails."""

from __future__ import annotations

import errno
import hashlib
import random
from pathlib import Path

import pytest

from edge_gateway.spool import FileSystem, Spool, SpoolBroken, SpoolFull
from edge_gateway.spool.entry import deliver, encode_delivery, encode_entry
from edge_gateway.spool.limits import MIB
from edge_gateway.spool.sealing import ContentHash
from edge_gateway.spool.segment import BLOCK_BYTES
from tests.edge_gateway.spool.seams import FailingFileSystem, no_rule
from tests.edge_gateway.spool.tracing import Flushed, Operation, TracingFileSystem, Written
from tests.edge_gateway.spool.workload import (
    SMALL_SEGMENTS,
    await_segment_ahead,
    contents,
    data_set,
    facts,
    store,
)

LATE_BYTES = SMALL_SEGMENTS.hashed_late_from_bytes
HEAD = b"HiRc"


class NotingFileSystem(FileSystem):
    """Notes what the disk was told to begin with."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int]] = []

    def start_flush(self, descriptor: int, length_bytes: int, offset_bytes: int) -> None:
        self.begun.append((length_bytes, offset_bytes))
        super().start_flush(descriptor, length_bytes, offset_bytes)


def _stored(directory: Path, size_bytes: int) -> tuple[str, list[Operation]]:
    """One data set, and what its commit did to the segment."""
    fs = TracingFileSystem()
    with Spool.open(directory, "north", SMALL_SEGMENTS, fs=fs) as spool:
        store(spool, 100)
        await_segment_ahead(spool)
        before = len(fs.trace)
        delivery = store(spool, size_bytes)
        segment = next(one.file for one in fs.trace[before:] if isinstance(one, Written))
        done = [one for one in fs.trace[before:] if getattr(one, "file", None) == segment]
    return delivery.delivery_id, done


def test_the_bytes_are_written_first_and_one_flush_covers_them_and_their_head(
    tmp_path: Path,
) -> None:
    delivery_id, done = _stored(tmp_path / "spool", LATE_BYTES)
    body, head, flush = done
    assert isinstance(body, Written) and isinstance(head, Written) and isinstance(flush, Flushed)
    assert body.data.startswith(data_set(delivery_id, LATE_BYTES))
    assert head.data.startswith(HEAD)
    assert head.offset_bytes + len(head.data) == body.offset_bytes
    assert delivery_id in contents(tmp_path / "spool").deliveries


def test_a_shorter_one_is_written_at_once(tmp_path: Path) -> None:
    delivery_id, done = _stored(tmp_path / "spool", LATE_BYTES - 1)
    assert [type(one) for one in done] == [Written, Flushed]
    assert delivery_id in contents(tmp_path / "spool").deliveries


def test_beside_another_data_set_one_is_hashed_before_its_turn(tmp_path: Path) -> None:
    fs = NotingFileSystem()
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS, fs=fs) as spool:
        with spool.begin(facts("another")) as arriving:
            arriving.write(bytes(100))
            store(spool, LATE_BYTES)
            assert not fs.begun
        store(spool, 8000)
    ((length_bytes, offset_bytes),) = fs.begun
    assert 0 < length_bytes <= 8000
    assert length_bytes % BLOCK_BYTES == offset_bytes % BLOCK_BYTES == 0


def test_a_file_of_its_own_is_on_its_way_while_more_of_it_comes(tmp_path: Path) -> None:
    fs = NotingFileSystem()
    size_bytes = 3 * MIB + 12_345
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS, fs=fs) as spool:
        delivery = store(spool, size_bytes)
        assert not contents(tmp_path / "spool").rotten
    assert delivery.external
    begun_bytes = 0
    for length_bytes, offset_bytes in fs.begun:
        assert offset_bytes == begun_bytes
        begun_bytes += length_bytes
    assert begun_bytes == 3 * MIB


def test_the_checkpoint_of_a_new_segment_stands_before_what_is_written_ahead(
    tmp_path: Path,
) -> None:
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as spool:
        sent = [store(spool, 8000) for _ in range(20)]
        found = contents(tmp_path / "spool")
    assert found.deliveries == {delivery.delivery_id: delivery for delivery in sent}
    assert len({record.location.segment_number for record in found.records.values()}) > 1


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize(("code", "kind"), [(errno.EDQUOT, SpoolFull), (errno.EIO, SpoolBroken)])
def test_a_write_that_fails_leaves_nothing_that_counts(
    tmp_path: Path, failing: int, code: int, kind: type[Exception]
) -> None:
    """The first of the two writes is that of the bytes, the second that of the head."""
    fs = FailingFileSystem()
    spool = Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS, fs=fs)
    before = store(spool, 8000)
    await_segment_ahead(spool)
    writes = 0

    def rule(operation: str, path: Path) -> int | None:
        nonlocal writes
        writes += operation == "write"
        return code if operation == "write" and writes == failing else None

    fs.rule = rule
    with pytest.raises(kind):
        store(spool, 8000)
    fs.rule = no_rule
    sent = [before]
    if kind is SpoolFull:
        sent += [store(spool, 5000), store(spool, 8000)]
    assert spool.statistics().memory_bytes == 0
    spool.close()
    with Spool.open(tmp_path / "spool", "north", SMALL_SEGMENTS) as again:
        assert not again.recovery.damaged
        found = contents(tmp_path / "spool")
    assert found.deliveries == {delivery.delivery_id: delivery for delivery in sent}
    assert not found.damaged and not found.rotten


def test_bytes_are_hashed_once_and_in_order_whenever_that_is_done() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(200):
        summed, held, sent = ContentHash(), [bytearray()], b""
        for _ in range(chance.randrange(12)):
            fragment = chance.randbytes(chance.randrange(5000))
            sent += fragment
            if chance.random() < 0.5:
                held.append(bytearray(fragment))
            else:
                held[-1] += fragment
            if chance.random() < 0.3:
                summed.catch_up(held)
        summed.catch_up(held)
        if chance.random() < 0.5:
            sent += b"streamed"
            summed.update(memoryview(b"streamed"))
        assert summed.hexdigest() == hashlib.sha256(sent).hexdigest()


@pytest.mark.parametrize("reason", [None, "uid_mismatch"])
def test_a_delivery_is_the_same_json_however_it_is_made(reason: str | None) -> None:
    described = facts()
    delivery = deliver(described, 7, "ab" * 32, reason, False)
    encoded = encode_delivery(encode_entry(described), 7, "ab" * 32, reason, False)
    assert encoded == encode_entry(delivery)
