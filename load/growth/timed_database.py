"""A database that tells how long its inserts and its compositions took.

Invariant: it adds nothing to and takes nothing from what passes through; inserts are what a table
takes, compositions are what an index writer asks and runs about what is there already.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from infra.seams import Database, Table


class TimedDatabase:
    """`infra.seams.Database` around another one; seconds since it was made."""

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self.insert_s = 0.0
        self.compose_s = 0.0

    @property
    def name(self) -> str:
        return self._inner.name

    def table(self, name: str) -> Table:
        return _TimedTable(self, self._inner.table(name))

    def query(
        self, sql: str, parameters: Mapping[str, object] | None = None
    ) -> list[dict[str, object]]:
        with self._composing():
            return self._inner.query(sql, parameters)

    def command(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        with self._composing():
            self._inner.command(sql, parameters)

    @contextmanager
    def inserting(self) -> Iterator[None]:
        """What happens meanwhile is an insert."""
        began = time.perf_counter()
        yield
        self.insert_s += time.perf_counter() - began

    @contextmanager
    def _composing(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.compose_s += time.perf_counter() - began


class _TimedTable:
    def __init__(self, database: TimedDatabase, inner: Table) -> None:
        self._database = database
        self._inner = inner

    @property
    def name(self) -> str:
        return self._inner.name

    def insert(self, columns: Mapping[str, Sequence[object]]) -> None:
        with self._database.inserting():
            self._inner.insert(columns)
