"""How kafka-python moves large records: in large pieces, copied as rarely as it can be.

Invariant: what is sent and what is handed out are the same bytes and the same batches as without
it; TLS connections, whose records are small, are left as they are. Must not open a connection.
"""

from __future__ import annotations

from typing import Any

from kafka.errors import KafkaConnectionError
from kafka.net.transport import KafkaTCPTransport
from kafka.protocol.frame import KafkaBytes
from kafka.record.memory_records import MemoryRecordsBuilder

from infra.telemetry import logger

# The library (3.0.12) asks for 4 KiB at a time: 130 system calls for one CT instance.
RECEIVE_BYTES = 256 * 1024
# Below it the library's own ways are the quicker ones.
LARGE_BYTES = 32 * 1024
_read_field = KafkaBytes.read
_append = MemoryRecordsBuilder.append
_log = logger("broker")


def move_large_records() -> None:
    """Every Kafka client of this process does so from now on; once more changes nothing."""
    KafkaTCPTransport._sock_recv = _received
    KafkaBytes.read = _field
    MemoryRecordsBuilder.append = _appended


def _received(transport: Any) -> tuple[memoryview, Exception | None]:
    """What the socket has now, and why there will be no more. Stands for `_sock_recv`."""
    pieces: list[bytes] = []
    error = None
    try:
        while True:
            data = transport._sock.recv(RECEIVE_BYTES)
            if not data:
                _log.debug("disconnected", broker=str(transport))
                error = KafkaConnectionError("socket disconnected")
                break
            pieces.append(data)
            if len(data) < RECEIVE_BYTES:
                break
    except (BlockingIOError, InterruptedError):
        pass
    except (OSError, AttributeError) as cause:  # the latter where it was closed meanwhile
        error = KafkaConnectionError(cause)
    # A view: the library copies slices of it into the frame that it is putting together.
    return memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces)), error


def _field(frame: Any, size_bytes: int | None = None) -> bytes:
    """A field out of a frame, copied once. Stands for `KafkaBytes.read`."""
    left = len(frame) - frame._idx
    wanted = left if size_bytes is None else min(size_bytes, left)
    if wanted < LARGE_BYTES:
        return bytes(_read_field(frame, size_bytes))
    start, frame._idx = frame._idx, frame._idx + wanted
    with memoryview(frame) as view:
        return bytes(view[start : start + wanted])


def _appended(
    batch: Any, timestamp: int | None, key: bytes | None, value: bytes | None, headers: Any = None
) -> Any:
    """A record in a batch, or None. Stands for `MemoryRecordsBuilder.append`.

    The library finds out that a record is too much for a batch that has others when it has copied
    it, and it asks twice: two copies of each CT instance for nothing.
    """
    size_bytes = 0 if value is None else len(value)
    is_large = size_bytes >= LARGE_BYTES and batch.next_offset() > 0
    if is_large and batch.size_in_bytes() + size_bytes > batch._batch_size:
        return None
    return _append(batch, timestamp, key, value, headers)
