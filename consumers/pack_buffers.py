"""A pack in memory, as the buffers that it was made of.

Invariant: a buffer is kept as it came and never joined or copied, so a pack costs its own size;
reading a range copies that range alone. It must not grow beyond what its maker reserved.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence


class PackBuffers:
    """The file that `PackAssembly` wants, and the reader that `read_pack` wants."""

    def __init__(self) -> None:
        self._buffers: list[bytes] = []
        self._starts: list[int] = []
        self._size_bytes = 0
        self._position = 0

    @property
    def buffers(self) -> Sequence[bytes]:
        """The bytes in order."""
        return self._buffers

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""
        return self._size_bytes

    def write(self, data: bytes) -> int:
        """Appends `data`."""
        if data:
            self._buffers.append(data)
            self._starts.append(self._size_bytes)
            self._size_bytes += len(data)
        self._position = self._size_bytes
        return len(data)

    def seek(self, offset: int) -> int:
        """Goes to where an earlier `write` ended; only `truncate` may follow."""
        self._position = offset
        return offset

    def truncate(self) -> int:
        """Drops what was written behind the position."""
        while self._starts and self._starts[-1] >= self._position:
            self._starts.pop()
            self._size_bytes -= len(self._buffers.pop())
        assert self._size_bytes == self._position, "positions are where a write ended"
        return self._size_bytes

    def read_range(self, offset_bytes: int, length_bytes: int) -> bytes:
        """A range, shorter only where the pack ends."""
        found: list[bytes] = []
        number = max(0, bisect_right(self._starts, offset_bytes) - 1)
        offset = offset_bytes - (self._starts[number] if self._starts else 0)
        while length_bytes > 0 and number < len(self._buffers):
            part = self._buffers[number][offset : offset + length_bytes]
            found.append(part)
            length_bytes -= len(part)
            number, offset = number + 1, 0
        return b"".join(found)
