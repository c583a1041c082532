"""The axis of rows: indexes of several sizes side by side, filled first and then measured in turns.

Invariant: every size is a database of its own in one engine, and all are probed in the same run,
round by round, so that a slow hour of the machine slows all of them. Whatever stops a fill, its
state says where the next run goes on.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.settings import ClickHouseSettings
from load.compare.bench import alternating
from load.growth.index import GrowingIndex, ProbeCost, Size, weigh
from load.growth.options import Effort, GrowthOptions
from load.growth.processes import Child, engines
from load.growth.questions import Keys, QueryTimes, ask_all
from load.growth.state import FillSlice, SizeState, StateFile
from load.progress import Progress

ENGINE = "clickhouse-primary"
# Probes stay in the index; one that has outgrown its size by that much is filled anew.
OUTGROWN = 2.0
# A stretch of a fill ends where the rows have grown by a quarter of a decade.
SLICE_FACTOR = 10**0.25
SLICE_ROWS_MIN = 10_000


@dataclass(frozen=True, slots=True)
class SizeMeasured:
    """One size: what it occupied before the probes, what they cost, how long answers took."""

    rows_wanted: int
    size: Size
    probes: tuple[ProbeCost, ...]
    queries: tuple[QueryTimes, ...]
    slices: tuple[FillSlice, ...]


@dataclass(frozen=True, slots=True)
class Grown:
    """What a run saw. `rows_found` were there when it began."""

    measured: tuple[SizeMeasured, ...]
    rows_found: int
    rows_filled: int
    # Of a row with 260 elements, in an index of nothing else whose parts are merged.
    bytes_on_disk_full: float


def grow_rows(options: GrowthOptions, directory: Path, progress: Progress) -> Grown:
    """Fills every size under `directory`, going on where an interrupted run was, and measures all.

    Raises RetryableError (the engine cannot go on), FatalError (another seed's directory).
    """
    directory.mkdir(parents=True, exist_ok=True)
    kept = StateFile(directory, options.seed)
    with engines(directory, [ENGINE]) as (settings, (engine,)):
        return grow_on(options, settings.primary.clickhouse, engine, kept, progress)


def grow_on(
    options: GrowthOptions,
    settings: ClickHouseSettings,
    engine: Child | None,
    kept: StateFile,
    progress: Progress,
) -> Grown:
    """`grow_rows` in databases of an engine that runs, named after the settings' database."""
    wanted = options.sizes_asked()
    found = sum(kept.size(rows).rows for rows in wanted)
    with _opened(options, settings, engine, kept) as indexes:
        for rows, index in indexes.items():
            _fill(index, rows, kept, progress)
        filled = sum(kept.size(rows).rows for rows in wanted) - found
        measured = _measure(indexes, kept, options.effort, progress)
    progress.stage("weighing rows with full headers")
    own = settings.model_copy(update={"database": f"{settings.database}_weighed"})
    weight = weigh(own, options)
    return Grown(measured, found, filled, weight)


@contextmanager
def _opened(
    options: GrowthOptions,
    settings: ClickHouseSettings,
    engine: Child | None,
    kept: StateFile,
) -> Iterator[Mapping[int, GrowingIndex]]:
    indexes = {}
    for rows in options.sizes_asked():
        own = settings.model_copy(update={"database": f"{settings.database}_{rows}"})
        index = GrowingIndex(own, options, engine)
        # A directory without state may hold rows of a fill whose state was taken away.
        if index.size().rows > OUTGROWN * rows or not kept.size(rows).rows:
            index.drop()
            index = GrowingIndex(own, options, engine)
            kept.put(SizeState(rows_wanted=rows))
        indexes[rows] = index
    try:
        yield indexes
    finally:
        for index in indexes.values():
            index.close()


def _fill(
    index: GrowingIndex,
    rows: int,
    kept: StateFile,
    progress: Progress,
) -> None:
    state = kept.size(rows)
    if state.is_full:
        return
    progress.stage(f"filling to {rows:,} rows", rows - state.rows, "rows")
    is_whole = state.rows == 0
    while not state.is_full:
        begun, cpu, began = state, index.cpu_s(), time.perf_counter()
        until = min(max(SLICE_ROWS_MIN, round(state.rows * SLICE_FACTOR)), rows)
        # Closed in any case: nothing is being written any more when the engine is stopped.
        with closing(index.fill(state.next_study, state.rows, until)) as batches:
            for studies, written in batches:
                state = state.model_copy(
                    update={"rows": state.rows + written, "next_study": state.next_study + studies}
                )
                kept.put(state)
                progress.advance(written)
        piece = FillSlice(
            rows_from=begun.rows,
            rows_to=state.rows,
            wall_s=time.perf_counter() - began,
            cpu_s=index.cpu_s() - cpu,
            is_whole=is_whole,
        )
        state = state.model_copy(update={"slices": (*state.slices, piece)})
        kept.put(state)
        is_whole = True


def _measure(
    indexes: Mapping[int, GrowingIndex],
    kept: StateFile,
    effort: Effort,
    progress: Progress,
) -> tuple[SizeMeasured, ...]:
    progress.stage("waiting for merges to end")
    for index in indexes.values():
        if not index.settle():
            progress.note("merges still run: probes share the engine with them")
            break
    sizes = {rows: index.size() for rows, index in indexes.items()}
    probes = _probe_rounds(indexes, kept, effort, progress)
    progress.stage("asking", len(indexes), "sizes")
    measured = []
    for rows, index in indexes.items():
        queries = _ask(index, rows, kept, effort)
        slices = kept.size(rows).slices
        measured.append(SizeMeasured(rows, sizes[rows], probes[rows], queries, slices))
        progress.advance()
    return tuple(measured)


def _probe_rounds(
    indexes: Mapping[int, GrowingIndex], kept: StateFile, effort: Effort, progress: Progress
) -> Mapping[int, tuple[ProbeCost, ...]]:
    rounds = effort.warm_rounds + effort.rounds
    progress.stage("probing every size in turns", rounds * len(indexes), "probes")
    costs: dict[int, list[ProbeCost]] = {rows: [] for rows in indexes}
    # To and fro: the merges that a probe starts are not always charged to the same neighbour.
    for rows in alternating(tuple(indexes), rounds):
        index, state = indexes[rows], kept.size(rows)
        # Told beforehand: a run that is killed here never gives the same probe twice.
        kept.put(state.model_copy(update={"next_probe": state.next_probe + 1}))
        costs[rows].append(index.probe(state.next_probe, state.rows))
        index.settle()
        progress.advance()
    return {rows: tuple(found[effort.warm_rounds :]) for rows, found in costs.items()}


def _ask(index: GrowingIndex, rows: int, kept: StateFile, effort: Effort) -> tuple[QueryTimes, ...]:
    state = kept.size(rows)
    for number in range(state.large_studies, effort.large_studies):
        index.add_large_study(number, state.rows)
    large_studies = max(state.large_studies, effort.large_studies)
    kept.put(state.model_copy(update={"large_studies": large_studies}))
    keys = Keys(kept.seed, state.next_study, large_studies)
    generator = random.Random(f"{kept.seed}/keys/{rows}/{state.next_probe}")
    return ask_all(index.database, keys, generator, effort.asked)
