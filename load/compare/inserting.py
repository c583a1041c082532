"""Replaying received events into the index: from Avro bytes to rows that views can tell.

Invariant: what is timed is what metadata-index does with a batch of its own size: decoding,
describing headers, inserting `received`, `sop_contents` and `delivery_rows`, and composing. The
engine is a real ClickHouse process of this run, the writer runs in this process. It must not
publish.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

import orjson

from consumers.index_input import size_bytes
from consumers.index_writer import IndexWriter
from consumers.metadata_index import LIMITS as GATHERED
from contracts import codec
from contracts.events import InstanceReceived
from infra.clickhouse import ClickHouseDatabase
from infra.clock import SystemClock
from infra.migrate import migrate
from load.compare.bench import ROUNDS, Bench, Measured, Measurement, alternating
from load.compare.goals import INSERT, Samples
from load.growth.archive import KINDS, study
from load.growth.processes import engines
from load.growth.told import told

ENGINE = "clickhouse-primary"
INSTANCES_PER_STUDY = 500
# The elements that become typed columns (consumers/index_header.py), and the three UIDs.
TYPED = frozenset(
    (
        *("00080018", "00080020", "00080030", "00080050", "00080060", "00080070", "00081010"),
        *("00081030", "0008103E", "00100010", "00100020", "00100021", "00100030", "00100040"),
        *("00180015", "0020000D", "0020000E", "00200011", "00200013"),
    )
)
_START_S, _BATCH_S = 8.0, 1.0

Shorten = Callable[[InstanceReceived], InstanceReceived]


def insert_measurement() -> Measurement:
    """A batch with all tags and one with typed columns only in each turn, one of each before."""
    return Measurement(
        key=INSERT,
        title="replay and insert",
        fixed_s=_START_S + 2 * (ROUNDS + 1) * _BATCH_S,
        samples=0,
        measure=measure_insert,
    )


def measure_insert(bench: Bench) -> Measured:
    """Instances per second by one writer and one engine, sharing this machine's cores."""
    shortened: dict[str, Shorten] = {"insert.all-tags": lambda event: event, "insert.typed": _typed}
    found: dict[str, list[float]] = {name: [] for name in shortened}
    sizes: dict[str, int] = {}
    with engines(bench.directory / "inserting", (ENGINE,)) as (settings, _):
        migrate(settings.primary.clickhouse)
        database = ClickHouseDatabase(settings.primary.clickhouse)
        try:
            number = 0
            with closing(IndexWriter(database, SystemClock())) as writer:
                for name in [*shortened, *alternating(list(shortened), bench.rounds)]:
                    batch = _batch(bench.seed, number, shortened[name])
                    sizes[name] = len(batch)
                    found[name].append(len(batch) / _seconds(writer, batch))
                    number += len(batch)
                    bench.pace.advance(_BATCH_S)
        finally:
            database.close()
    # The first batch of each pays for connecting, for compiled queries and for imports.
    rates = {name: tuple(values[1:]) for name, values in found.items()}
    all_tags = (
        f"decode, describe, insert and compose; batches of {sizes['insert.all-tags']:,} as"
        " metadata-index gathers them, 260 elements each"
    )
    typed = (
        f"the same with headers of the {len(TYPED)} elements that become typed columns; batches"
        f" of {sizes['insert.typed']:,}"
    )
    return Measured(
        samples={
            "insert.all-tags": Samples(rates["insert.all-tags"], note=all_tags),
            "insert.typed": Samples(rates["insert.typed"], note=typed),
        }
    )


def _typed(event: InstanceReceived) -> InstanceReceived:
    header = orjson.loads(event.header)
    kept = {tag: element for tag, element in header.items() if tag in TYPED}
    return replace(event, header=orjson.dumps(kept).decode())


def _batch(seed: int, number: int, shortened: Shorten) -> Sequence[bytes]:
    """Encoded events of instances that nobody has inserted, as many as one batch gathers."""
    first = shortened(_events(seed, number, 1)[0])
    count = min(GATHERED.records_max, GATHERED.bytes_max // size_bytes(first))
    return [codec.encode(shortened(event)) for event in _events(seed, number, count)]


def _events(seed: int, number: int, count: int) -> list[InstanceReceived]:
    studies = -(-count // INSTANCES_PER_STUDY)
    # Odd numbers hold no conflict (load/growth/archive.py); `number` counts instances, so that no
    # two batches share a study.
    chosen = [
        replace(study(seed, 2 * (number + place) + 1), kind=KINDS[0],
                instances=min(count, INSTANCES_PER_STUDY), series=1)
        for place in range(studies)
    ]  # fmt: skip
    return list(told(chosen, number, is_full=True).received[:count])


def _seconds(writer: IndexWriter, batch: Sequence[bytes]) -> float:
    began = time.perf_counter()
    writer.write(received=[codec.decode(data, InstanceReceived) for data in batch])
    return time.perf_counter() - began
