"""A bucket in memory that may refuse, or store and not answer.

Invariant: what a put returned is there byte for byte with its checksum; nothing is overwritten.
`test_store_double` holds it to `infra.object_store.S3ObjectStore`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from contracts.failures import PoisonError, Reason, RetryableError
from infra.seams import StoredObject
from tests.simulation.clock import SimulatedClock

_CHUNK_BYTES = 1024 * 1024
SLOW_PUT_S = 26 * 60.0
NEVER_REFUSED_BYTES = 1 << 40


class MemoryStore:
    """`infra.seams.ObjectStore`."""

    def __init__(self, bucket: str, clock: SimulatedClock) -> None:
        self._bucket = bucket
        self._clock = clock
        self.objects: dict[str, bytes] = {}
        self._metadata: dict[str, dict[str, str]] = {}
        # The next so many puts fail: before, or after the object is there.
        self.refusals = 0
        self.lost_answers = 0
        # Objects of this size and larger are refused for good.
        self.refused_bytes_min = NEVER_REFUSED_BYTES
        # The next so many puts take longer than a write may.
        self.slow_puts = 0

    @property
    def bucket(self) -> str:
        return self._bucket

    def put_file(
        self, key: str, path: Path, sha256: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        return self._put(key, path.read_bytes(), sha256, metadata)

    def put_buffers(
        self, key: str, buffers: Sequence[bytes], sha256: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        return self._put(key, b"".join(buffers), sha256, metadata)

    def head(self, key: str) -> StoredObject | None:
        data = self.objects.get(key)
        if data is None:
            return None
        sha256 = hashlib.sha256(data).hexdigest()
        return StoredObject(self._bucket, key, len(data), sha256, self._metadata[key])

    def read(self, key: str, offset_bytes: int = 0, length_bytes: int | None = None) -> bytes:
        data = self.objects[key]
        end = None if length_bytes is None else offset_bytes + length_bytes
        return data[offset_bytes:end]

    def open(
        self, key: str, offset_bytes: int = 0, length_bytes: int | None = None
    ) -> Iterator[bytes]:
        data = self.read(key, offset_bytes, length_bytes)
        return (data[at : at + _CHUNK_BYTES] for at in range(0, len(data), _CHUNK_BYTES))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for key, data in sorted(self.objects.items()):
            if key.startswith(prefix):
                yield StoredObject(self._bucket, key, len(data), None, {})

    def _put(self, key: str, data: bytes, sha256: str, metadata: Mapping[str, str]) -> StoredObject:
        if self.refusals:
            self.refusals -= 1
            raise RetryableError(f"storing {key}: SlowDown")
        if self.slow_puts:
            self.slow_puts -= 1
            self._clock.pass_time(SLOW_PUT_S)
        if len(data) >= self.refused_bytes_min:
            raise PoisonError(Reason.REFUSED_BY_SINK, f"{len(data)} bytes")
        if hashlib.sha256(data).hexdigest() != sha256:
            raise RetryableError(f"storing {key}: other bytes arrived")
        if key not in self.objects:
            self.objects[key] = data
            self._metadata[key] = dict(metadata)
        if self.lost_answers:
            self.lost_answers -= 1
            raise RetryableError(f"storing {key}: no answer")
        stored = self.head(key)
        assert stored is not None
        return stored
