"""What goes up to an object store: a file, or buffers that were never put together.

Invariant: a body's blocks are its bytes in order, each at most BLOCK_BYTES long, and they can be
asked for again; nothing here copies a large buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

# One `send` has the stall time-out for a block: 8.7 KB/s is the slowest line that is no stall.
# (http.client's own 16 KiB cost 0.33 CPU s a GB more.)
BLOCK_BYTES = 256 * 1024
# Buffers below it (tar headers, Part-10 heads, small data sets) are sent together: a system call
# and a TCP segment each would cost more than the copy.
JOIN_BYTES = 64 * 1024


class Body(Protocol):
    """Bytes of a known length."""

    @property
    def size_bytes(self) -> int:
        """The length."""

    def blocks(self) -> Iterator[bytes | memoryview]:
        """All bytes in order, from the beginning, in blocks of BLOCK_BYTES at most."""


class FileBody:
    """A file that does not change meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size_bytes = path.stat().st_size

    def blocks(self) -> Iterator[bytes]:
        """See `Body`. One block is in memory at a time."""
        with self._path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block


class BufferBody:
    """Buffers in memory, as they are."""

    def __init__(self, buffers: Sequence[bytes]) -> None:
        self._buffers = buffers
        self.size_bytes = sum(map(len, buffers))

    def blocks(self) -> Iterator[bytes | memoryview]:
        """See `Body`. Small buffers are joined, large ones are handed out as views."""
        small: list[bytes] = []
        small_bytes = 0
        for buffer in self._buffers:
            if len(buffer) < JOIN_BYTES:
                small.append(buffer)
                small_bytes += len(buffer)
                if small_bytes < JOIN_BYTES:
                    continue
            if small:
                yield b"".join(small)
                small, small_bytes = [], 0
            if len(buffer) >= JOIN_BYTES:
                yield from _views(buffer)
        if small:
            yield b"".join(small)


def parts(body: Body, part_bytes: int) -> Iterator[BufferBody]:
    """The body in runs of whole blocks, each at least `part_bytes` long but for the last one."""
    held: list[bytes] = []
    held_bytes = 0
    for block in body.blocks():
        held.append(bytes(block))
        held_bytes += len(block)
        if held_bytes >= part_bytes:
            yield BufferBody(held)
            held, held_bytes = [], 0
    if held:
        yield BufferBody(held)


def _views(buffer: bytes) -> Iterable[memoryview]:
    view = memoryview(buffer)
    return (view[start : start + BLOCK_BYTES] for start in range(0, len(buffer), BLOCK_BYTES))
