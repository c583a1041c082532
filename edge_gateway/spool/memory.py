"""What data sets hold in memory until they are flushed, each and all together.

Invariant: all together never hold more than the budget, and those that may still turn out large no
more than their share of it. Must not touch the disk, which is the way out when there is no room.
"""

from __future__ import annotations

import threading

from edge_gateway.spool.limits import SpoolLimits

# A buffer that grows is copied to a longer one with air behind it: at 4 MiB that cost twice the
# bytes at the peak. Parts of this length grow cheaply and are never copied again.
_PART_BYTES_MAX = 256 * 1024


class MemoryBudget:
    """Bytes that all unflushed data sets together hold, and those among them that arrive."""

    def __init__(self, limits: SpoolLimits) -> None:
        self._lock = threading.Lock()
        self._limits = limits
        self._taken_bytes = 0
        self._arriving_bytes = 0

    @property
    def taken_bytes(self) -> int:
        return self._taken_bytes

    def take(self, size_bytes: int, held_bytes: int) -> bool:
        """Whether there was room for more of an arriving data set that holds `held_bytes`.

        Never waits: the disk is the way out.
        """
        limits = self._limits
        with self._lock:
            arriving_bytes = self._arriving_bytes + size_bytes
            is_spilled = held_bytes + size_bytes > limits.spilled_from_bytes
            if is_spilled and arriving_bytes > limits.arriving_bytes_max:
                return False
            if self._taken_bytes + size_bytes > limits.memory_bytes_max:
                return False
            self._taken_bytes += size_bytes
            self._arriving_bytes = arriving_bytes
            return True

    def note_whole(self, held_bytes: int) -> None:
        """A data set that holds so many arrives no more; it still has them."""
        with self._lock:
            self._arriving_bytes -= held_bytes

    def give_back(self, size_bytes: int) -> None:
        with self._lock:
            self._taken_bytes -= size_bytes


class HeldBytes:
    """The bytes of one data set in memory. Used by one thread."""

    def __init__(self) -> None:
        self.parts: list[bytearray] = []
        self.size_bytes = 0

    def append(self, view: memoryview) -> None:
        """Copies what `view` shows behind the rest."""
        if self.parts and len(self.parts[-1]) + len(view) <= _PART_BYTES_MAX:
            self.parts[-1] += view
        else:
            self.parts.append(bytearray(view))
        self.size_bytes += len(view)
