"""Writes an index from records, batch by batch, while the next batch is being read.

Invariant: one batch is written at a time, and what notes it is called after its rows are durable;
what the writer refuses is left out alone and counted, as the consumer's dead letters are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from consumers.index_input import size_bytes
from consumers.metadata_index import LIMITS, MetadataIndex
from consumers.spec import Record
from contracts.events import InstanceReceived
from contracts.failures import PoisonError
from infra.connect import Engines
from infra.seams import Database

BATCH_RECORDS_MAX, BATCH_BYTES_MAX = LIMITS.records_max, LIMITS.bytes_max
TELL_S = 1.0

Tell = Callable[[str], None]
Noted = Callable[[], None]


@dataclass(slots=True)
class Tally:
    """What has been written so far, and how much of the source there is."""

    records: int = 0
    instances: int = 0
    refused: int = 0
    total: int = 0


class Filler:
    """Fills one database with MetadataIndex's rows. To be closed; used from one thread."""

    def __init__(
        self,
        engines: Engines,
        database: Database,
        tell: Tell,
        batch_records_max: int = BATCH_RECORDS_MAX,
    ) -> None:
        site = replace(engines.primary, database=database)
        self._writer = MetadataIndex(replace(engines, primary=site))
        self._tell = tell
        self._records_max = batch_records_max
        self._batch: list[Record[Any]] = []
        self._bytes = 0
        self._pool = ThreadPoolExecutor(1)
        self._under_way: Future[None] | None = None
        self._began = time.monotonic()
        self._told_at = 0.0
        self.tally = Tally()

    @property
    def is_full(self) -> bool:
        """Whether `flush` is due."""
        return len(self._batch) >= self._records_max or self._bytes >= BATCH_BYTES_MAX

    def add(self, record: Record[Any]) -> None:
        """Takes a record into the batch."""
        self._batch.append(record)
        self._bytes += size_bytes(record.event)

    def flush(self, noted: Noted) -> None:
        """Hands the batch to the writer; `noted` is called once it is durable.

        Returns when the batch before is done. Raises what writing that one raised.
        """
        self.finish()
        batch, self._batch, self._bytes = self._batch, [], 0
        self._under_way = self._pool.submit(self._write_and_note, batch, noted)

    def finish(self) -> None:
        """On return all that was flushed is durable. Raises RetryableError, FatalError."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def seconds(self) -> float:
        """Since this began."""
        return time.monotonic() - self._began

    def rate(self) -> float:
        """Instances a second so far."""
        return self.tally.instances / max(self.seconds(), 1e-3)

    def close(self) -> None:
        """Ends the thread; what is under way is finished, what was not flushed is left."""
        self._pool.shutdown(wait=True)
        self._writer.close()

    def _write_and_note(self, batch: Sequence[Record[Any]], noted: Noted) -> None:
        self.tally.refused += self._write(batch)
        noted()
        self.tally.records += len(batch)
        self.tally.instances += sum(isinstance(r.event, InstanceReceived) for r in batch)
        if time.monotonic() - self._told_at >= TELL_S and batch:
            self._told_at = time.monotonic()
            self._tell(self._progress())

    def _write(self, records: Sequence[Record[Any]]) -> int:
        """How many of them were refused, each alone."""
        if not records:
            return 0
        try:
            return len(self._writer.write(records))
        except PoisonError:
            if len(records) == 1:
                return 1
        middle = len(records) // 2
        return self._write(records[:middle]) + self._write(records[middle:])

    def _progress(self) -> str:
        tally = self.tally
        speed = tally.records / max(self.seconds(), 1e-3)
        left_s = max(0, tally.total - tally.records) / max(speed, 1e-3)
        return (
            f"indexed {tally.records:,} of {tally.total:,} records, "
            f"{self.rate():,.0f} instances/s, {left_s:,.0f} s left"
        )
