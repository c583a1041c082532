"""An index that is filled batch by batch, and probed with batches that are alike at every size.

Invariant: every row goes in through `consumers.index_writer`, as in production; probes of one run
have the same composition whatever the index holds, so that only its size can change their cost.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from consumers.index_writer import IndexWriter
from contracts.failures import RetryableError
from infra.clickhouse import ClickHouseDatabase
from infra.clock import SystemClock
from infra.migrate import migrate
from infra.settings import ClickHouseSettings
from load.growth.archive import KINDS, LARGE_INSTANCES, Study, study
from load.growth.options import GrowthOptions
from load.growth.processes import Child
from load.growth.timed_database import TimedDatabase
from load.growth.told import Told, told

# What metadata-index gathers at most (consumers/metadata_index.py).
FILL_ROWS = 5_000
# One describes headers while the engine composes for the other; the third batch waits for either.
FILL_WRITERS, FILL_BATCHES_AHEAD = 2, 3
# Number ranges beside the fill's; odd numbers hold no conflict.
PROBES_FROM, LARGE_FROM = 60_000_001, 80_000_001
# An engine that shares its cores may be slow to answer; the same batch again is harmless.
ATTEMPTS_MAX, ATTEMPT_DELAY_S = 5, 2.0
SETTLE_S_MAX, SETTLE_POLL_S = 120.0, 0.5


_TABLES = (
    "SELECT name FROM system.tables WHERE database = {name:String} AND engine LIKE '%MergeTree'"
)


@dataclass(frozen=True, slots=True)
class Size:
    """What the index occupies. `parts` are the active ones of all tables."""

    rows: int
    bytes_on_disk: int
    parts: int


@dataclass(frozen=True, slots=True)
class ProbeCost:
    """One probe batch: seconds and CPU seconds per instance, both halves written as they come."""

    wall_s: float
    cpu_s: float
    insert_s: float
    compose_s: float

    @property
    def prepare_s(self) -> float:
        """Neither inserting nor composing: describing headers and making columns."""
        return max(self.wall_s - self.insert_s - self.compose_s, 0.0)


class GrowingIndex:
    """One migrated index database and the engine process behind it."""

    def __init__(
        self, settings: ClickHouseSettings, options: GrowthOptions, engine: Child | None
    ) -> None:
        """`engine` is the process whose CPU counts beside ours; None counts ours alone."""
        migrate(settings)
        self.database = ClickHouseDatabase(settings)
        self._seed = options.seed
        self._effort = options.effort
        self._engine = engine

    def drop(self) -> None:
        """Takes the database away with all its rows; nothing else may be called then."""
        self.database.command(f"DROP DATABASE IF EXISTS {self.database.name} SYNC")
        self.database.close()

    def close(self) -> None:
        """Releases the connections; the rows stay."""
        self.database.close()

    def cpu_s(self) -> float:
        """CPU seconds of the writer (this process) and of the engine so far."""
        return time.process_time() + (self._engine.cpu_s() if self._engine else 0.0)

    def fill(self, next_study: int, row: int, until: int) -> Generator[tuple[int, int]]:
        """Writes whole studies with short headers from `next_study` on, up to `until` rows.

        `row` is the place of their first instance. Yields (studies, rows) of each batch of about
        FILL_ROWS, in order, once it is written; closing it waits for what is being written. Raises
        RetryableError after ATTEMPTS_MAX.
        """
        waiting: deque[Future[tuple[int, int]]] = deque()
        with ThreadPoolExecutor(FILL_WRITERS, thread_name_prefix="fill") as writers:
            try:
                while row < until or waiting:
                    while row < until and len(waiting) < FILL_BATCHES_AHEAD:
                        studies = list(_batch(self._seed, next_study, min(FILL_ROWS, until - row)))
                        waiting.append(writers.submit(self._write, studies, row))
                        next_study += len(studies)
                        row += sum(one.rows for one in studies)
                    yield waiting.popleft().result()
            finally:
                writers.shutdown(cancel_futures=True)

    def probe(self, number: int, row: int) -> ProbeCost:
        """What instances with full headers cost: both halves, one after the other.

        CT series of several studies, as they meet in a batch of a busy hour.
        """
        count = self._effort.probe_studies
        numbers = range(PROBES_FROM + 2 * count * number, 2**31, 2)[:count]
        return self._measure(
            [_ct(self._seed, n, self._effort.probe_instances) for n in numbers], row
        )

    def add_large_study(self, number: int, row: int) -> None:
        """Writes a study of 1,000 instances with full headers, to ask for its metadata."""
        self._measure([large_study(self._seed, number)], row)

    def settle(self) -> bool:
        """Waits until no merge runs; False when they did not end within SETTLE_S_MAX."""
        until = time.monotonic() + SETTLE_S_MAX
        while time.monotonic() < until:
            if not self._ask("SELECT count() AS n FROM system.merges")["n"]:
                return True
            time.sleep(SETTLE_POLL_S)
        return False

    def size(self) -> Size:
        """Rows of instances, bytes on disk and active parts of the whole database."""
        name: dict[str, object] = {"name": self.database.name}
        of_parts = "FROM system.parts WHERE active AND database = {name:String}"
        found = self._ask(f"SELECT sum(bytes_on_disk) AS b, count() AS parts {of_parts}", name)
        rows = self._ask("SELECT count() AS n FROM instance_rows FINAL")["n"]
        return Size(int(rows), int(found["b"]), int(found["parts"]))

    def _measure(self, studies: list[Study], row: int) -> ProbeCost:
        events = told(studies, row, is_full=True)
        timed = TimedDatabase(self.database)
        count = len(events.received)
        with closing(IndexWriter(timed, SystemClock())) as writer:
            cpu, began = self.cpu_s(), time.perf_counter()
            writer.write(received=events.received)
            writer.write(archived=events.archived, receipts=events.receipts)
            seconds = time.perf_counter() - began
        return ProbeCost(
            wall_s=seconds / count,
            cpu_s=(self.cpu_s() - cpu) / count,
            insert_s=timed.insert_s / count,
            compose_s=timed.compose_s / count,
        )

    def _write(self, studies: list[Study], row: int) -> tuple[int, int]:
        events = told(studies, row, is_full=False)
        self._insist(events)
        return len(studies), len(events.received)

    def _insist(self, events: Told) -> None:
        with closing(IndexWriter(self.database, SystemClock())) as writer:
            self._insist_by(writer, events)

    def _insist_by(self, writer: IndexWriter, events: Told) -> None:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                writer.write(
                    received=events.received, archived=events.archived, receipts=events.receipts
                )
            except RetryableError:
                if attempt == ATTEMPTS_MAX:
                    raise
                time.sleep(ATTEMPT_DELAY_S)
            else:
                return

    def _ask(self, sql: str, parameters: dict[str, object] | None = None) -> dict[str, Any]:
        (row,) = self.database.query(sql, parameters)
        return row


def weigh(settings: ClickHouseSettings, options: GrowthOptions) -> float:
    """Bytes on disk of a row with a full header, in a database that is made and dropped for it."""
    index = GrowingIndex(settings, options, None)
    try:
        for number in range(options.effort.probes_weighed):
            index.probe(number, row=0)
        for table in index.database.query(_TABLES, {"name": index.database.name}):
            index.database.command(f"OPTIMIZE TABLE {table['name']} FINAL")
        size = index.size()
    finally:
        index.drop()
    return size.bytes_on_disk / size.rows


def large_study(seed: int, number: int) -> Study:
    """The number-th study that `add_large_study` writes."""
    return _ct(seed, LARGE_FROM + 2 * number, LARGE_INSTANCES)


def _ct(seed: int, number: int, instances: int) -> Study:
    return replace(study(seed, number), kind=KINDS[0], instances=instances, series=1)


def _batch(seed: int, next_study: int, rows: int) -> Iterator[Study]:
    while rows > 0:
        one = study(seed, next_study)
        yield one
        rows -= one.rows
        next_study += 1
