"""The memo from an element's encoded bytes to its JSON: a series repeats nearly every element.

Invariant: what a table's entries mean depends on nothing but their key and the table's name, and
all tables together stay under a fixed number of bytes.
It must not hold large values.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass, field

from edge_gateway.scan.limits import MIB

# About 4,000 CT headers' worth of elements that occur once; then everything is forgotten and
# relearnt in one header. An exact LRU costs more per hit than it saves.
MEMO_BYTES_MAX = 32 * MIB
# A dozen for each model of device and software version.
TABLES_MAX = 4096
# Two bytes objects and a dict slot.
_ENTRY_OVERHEAD_BYTES = 170


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Fragments by encoded element. `serial` is never used twice in a memo."""

    serial: int
    fragments: dict[bytes, bytes] = field(default_factory=dict)


class FragmentMemo:
    """Tables by what decides the meaning of bytes. Safe from any thread; readers take no lock."""

    def __init__(self, bytes_max: int = MEMO_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._tables: dict[Hashable, Table] = {}
        self._tables_made = 0
        self._size_bytes = 0

    def table(self, name: Hashable) -> Table:
        """The table of this name; it stays usable when its entries are forgotten meanwhile."""
        return self._tables.get(name) or self._new_table(name)

    def derived(self, table: Table, fact: Hashable) -> Table:
        """The table for what `table` is for, and `fact` besides."""
        # The serial stands for the whole chain of facts, so a chain costs no more than its last.
        return self.table((table.serial, fact))

    def _new_table(self, name: Hashable) -> Table:
        with self._lock:
            if len(self._tables) >= TABLES_MAX:
                self._forget()
                self._tables.clear()
            self._tables_made += 1
            return self._tables.setdefault(name, Table(self._tables_made))

    def remember(self, table: Table, encoded: bytes, fragment: bytes) -> None:
        """Keep `fragment` for `encoded` in this table."""
        with self._lock:
            if self._size_bytes > self._bytes_max:
                self._forget()
            self._size_bytes += len(encoded) + len(fragment) + _ENTRY_OVERHEAD_BYTES
            table.fragments[encoded] = fragment

    def _forget(self) -> None:
        for table in self._tables.values():
            table.fragments.clear()
        self._size_bytes = 0
