"""An independent reader of a spool's files: what is in there, by the documented layout alone.

Invariant: it imports no product code, so a fault of the spool's own reader cannot hide one of its
writer; only what every sum confirms counts. It must not write, and wants nobody writing.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crc32c import crc32c

_BLOCK_BYTES = 4096
_DELIVERY = 2
_HEAD_BYTES = 48


class NotAsWritten(AssertionError):
    """A record whose sums hold, but whose bytes are not those that were sent."""


@dataclass
class RecordChecker:
    """Reads a spool directory again and again, between the lives of its receiver.

    `deliveries` are the ids of all whole deliveries that were ever found, with their bytes right.
    """

    directory: Path
    deliveries: set[str] = field(default_factory=set)
    bodies_checked: int = 0
    _sealed: set[tuple[int, int]] = field(default_factory=set)
    _checked: set[tuple[int, int]] = field(default_factory=set)

    def read(self) -> None:
        """Takes in every record on the disk now. Raises NotAsWritten."""
        for path in sorted((self.directory / "segments").glob("*.seg")):
            content = path.read_bytes()
            head = struct.unpack_from("<8sIIQQQ", content)
            if head[0] != b"HilumSeg" or _sum_of(content, 40) != crc32c(content[:40]):
                continue  # being laid when the receiver was killed: it holds nothing yet
            number, generation = head[3], head[4]
            if (number, generation) in self._sealed:
                continue
            self._read_records(content, generation)
            if _is_sealed(content[-_BLOCK_BYTES:], generation):
                self._sealed.add((number, generation))

    def _read_records(self, content: bytes, generation: int) -> None:
        for sequence, kind, meta, body in _records(content, generation):
            place = (generation, sequence)
            if kind == _DELIVERY and place not in self._checked:
                self._check(json.loads(meta), body)
                self._checked.add(place)

    def _check(self, delivery: dict[str, object], body: bytes) -> None:
        delivery_id = str(delivery["delivery_id"])
        if delivery["external"]:
            body = self._external(delivery_id)
        block = hashlib.sha512(delivery_id.encode()).digest()
        size = int(str(delivery["size_bytes"]))
        expected = (block * (size // len(block) + 1))[:size]
        if body != expected or hashlib.sha256(body).hexdigest() != delivery["content_sha256"]:
            raise NotAsWritten(f"{delivery_id}: {len(body)} of {size} bytes, or others")
        if delivery_id in self.deliveries:
            raise NotAsWritten(f"{delivery_id}: accepted twice")
        self.deliveries.add(delivery_id)
        self.bodies_checked += 1

    def _external(self, delivery_id: str) -> bytes:
        for suffix in (".ds", ".ds.part"):
            path = self.directory / "objects" / f"{delivery_id}{suffix}"
            if path.exists():
                return path.read_bytes()
        raise NotAsWritten(f"{delivery_id}: its record has no object")


def _is_sealed(block: bytes, generation: int) -> bool:
    """Whether this is the footer of this life: a recycled segment still has its last one's."""
    is_footer = block.startswith(b"HilumEnd") and _sum_of(block, 48) == crc32c(block[:48])
    return is_footer and int.from_bytes(block[8:16], "little") == generation


def _sum_of(block: bytes, at: int) -> int:
    return int.from_bytes(block[at : at + 4], "little")


def _records(content: bytes, generation: int) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Sequence, kind, JSON and body of the records up to the first that is not whole."""
    at, capacity, last = _BLOCK_BYTES, len(content) - _BLOCK_BYTES, 0
    while at + _HEAD_BYTES <= capacity:
        magic, kind, _, found, sequence, body_bytes, meta_bytes = struct.unpack_from(
            "<4sHHQQQI", content, at
        )
        body_sum, head_sum, _ = struct.unpack_from("<III", content, at + 36)
        end = at + _HEAD_BYTES + meta_bytes + body_bytes
        if magic != b"HiRc" or found != generation or end > capacity or sequence <= last:
            return
        meta = content[at + _HEAD_BYTES : at + _HEAD_BYTES + meta_bytes]
        body = content[end - body_bytes : end]
        seed = crc32c(struct.pack("<QQ", generation, sequence))
        summed = crc32c(struct.pack("<I", body_sum), crc32c(content[at : at + 36], seed))
        if crc32c(meta, summed) != head_sum or crc32c(body, seed) != body_sum:
            return
        yield sequence, kind, meta, body
        at, last = -(-end // 8) * 8, sequence
