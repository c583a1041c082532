"""The memo from an element's encoded bytes to its JSON: a series repeats nearly every element.

Invariant: a table's entries depend on nothing but its key and the table they are in, and all
tables together stay under a fixed number of bytes.
It must not hold large values, nor any whose meaning needs other elements.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable

from edge_gateway.scan.limits import MIB

# About 4,000 CT headers' worth of elements that occur once; then everything is forgotten and
# relearnt in one header. An exact LRU costs more per hit than it saves.
MEMO_BYTES_MAX = 32 * MIB
TABLES_MAX = 128
# Two bytes objects and a dict slot.
_ENTRY_OVERHEAD_BYTES = 170

Table = dict[Hashable, bytes]


class FragmentMemo:
    """Tables by encoding and character set. Safe from any thread; readers take no lock."""

    def __init__(self, bytes_max: int = MEMO_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._tables: dict[Hashable, Table] = {}
        self._size_bytes = 0

    def table(self, name: Hashable) -> Table:
        """The table of this name; it stays usable when its entries are forgotten meanwhile."""
        table = self._tables.get(name)
        if table is None:
            with self._lock:
                if len(self._tables) >= TABLES_MAX:
                    self._forget()
                    self._tables.clear()
                table = self._tables.setdefault(name, {})
        return table

    def remember(self, table: Table, key: Hashable, size_bytes: int, fragment: bytes) -> None:
        """Keep `fragment` for `key`, whose own bytes count `size_bytes`."""
        with self._lock:
            if self._size_bytes > self._bytes_max:
                self._forget()
            self._size_bytes += size_bytes + len(fragment) + _ENTRY_OVERHEAD_BYTES
            table[key] = fragment

    def _forget(self) -> None:
        for table in self._tables.values():
            table.clear()
        self._size_bytes = 0
