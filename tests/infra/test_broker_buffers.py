"""Large records reach and leave the Kafka client as the library itself would move them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kafka.net.transport import KafkaTCPTransport
from kafka.protocol.frame import KafkaBytes
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from infra.broker_buffers import LARGE_BYTES, RECEIVE_BYTES, move_large_records
from tests.polling import eventually

DATA = bytes(range(251)) * 20_000


@pytest.fixture(autouse=True)
def moved() -> None:
    move_large_records()
    move_large_records()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def test_what_the_broker_sends_is_taken_whole_and_in_order(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    transport: Any = KafkaTCPTransport(None, ours)
    assert transport._sock_recv() == (b"", None), "nothing is there yet"
    sending = threading.Thread(target=theirs.sendall, args=(DATA,))
    sending.start()
    found = bytearray()

    def is_whole() -> bool:
        piece, error = transport._sock_recv()
        assert error is None
        found.extend(piece)
        return len(found) == len(DATA)

    eventually(is_whole, "all bytes")
    sending.join()
    assert found == DATA
    assert len(DATA) > RECEIVE_BYTES
    theirs.close()
    piece, error = transport._sock_recv()
    assert not piece
    assert "disconnected" in str(error)


def test_a_field_is_read_as_the_library_reads_it() -> None:
    frame = KafkaBytes(len(DATA))
    frame.write(DATA)
    frame.seek(0)
    assert frame.read(4) == DATA[:4]
    assert frame.read(LARGE_BYTES) == DATA[4 : 4 + LARGE_BYTES]
    assert frame.tell() == 4 + LARGE_BYTES
    assert frame.read() == DATA[4 + LARGE_BYTES :]
    assert frame.read(LARGE_BYTES) == b""
    assert isinstance(frame.read(), bytes)


@pytest.mark.parametrize("size_bytes", [LARGE_BYTES - 1, LARGE_BYTES, 400_000])
def test_batches_hold_what_they_held_before(size_bytes: int) -> None:
    """A record that is too much for a batch is refused; one alone never is."""
    batch_bytes = 3 * size_bytes
    batch: Any = MemoryRecordsBuilder(2, 0, batch_bytes)
    values = [bytes([number]) * size_bytes for number in range(4)]
    taken = [value for value in values if batch.append(None, b"key", value, []) is not None]
    assert taken == values[:2]
    batch.close()
    assert batch.append(None, b"key", values[0], []) is None
    assert [r.value for part in MemoryRecords(batch.buffer()) for r in part] == taken
    alone: Any = MemoryRecordsBuilder(2, 0, 1_000)
    assert alone.append(None, b"key", values[0], []) is not None
