"""The axis of rows: fills an index checkpoint by checkpoint, and measures at each.

Invariant: whatever stops a fill, its state says where the next run goes on; a checkpoint that was
measured is not measured again. It must not delete what it filled.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from load.growth.index import GrowingIndex
from load.growth.options import GrowthOptions
from load.growth.processes import engines
from load.growth.questions import Keys, ask_all
from load.growth.state import Checkpoint, GrowthState, StateFile
from load.progress import Progress

# The first probe of a checkpoint warms what a size does not change, and is not counted.
WARM_PROBES, PROBES = 1, 7
LARGE_STUDIES = 3
ENGINE = "clickhouse-primary"


@dataclass(frozen=True, slots=True)
class Grown:
    """What a run saw: its state at the end, and from how many rows it went on."""

    state: GrowthState
    rows_found: int
    is_stopped: bool


def grow_rows(
    options: GrowthOptions, directory: Path, stop: threading.Event, progress: Progress
) -> Grown:
    """Fills the index under `directory` up to the last checkpoint, or until `stop`.

    Raises RetryableError (the engine cannot go on), FatalError (another seed's directory).
    """
    directory.mkdir(parents=True, exist_ok=True)
    kept = StateFile(directory, options.seed)
    with engines(directory, [ENGINE]) as (settings, (engine,)):
        index = GrowingIndex(settings.primary.clickhouse, options.seed, engine)
        try:
            return fill_and_measure(options, index, kept, stop, progress)
        finally:
            index.close()


def fill_and_measure(
    options: GrowthOptions,
    index: GrowingIndex,
    kept: StateFile,
    stop: threading.Event,
    progress: Progress,
) -> Grown:
    """`grow_rows` on an index that is there."""
    rows_found = kept.state.rows
    measured = {checkpoint.rows_wanted for checkpoint in kept.state.checkpoints}
    for rows in options.stops():
        if rows in measured or stop.is_set():
            continue
        _fill_to(rows, index, kept, stop, progress)
        if not stop.is_set():
            _measure_at(rows, index, kept, stop, progress)
    return Grown(kept.state, rows_found, stop.is_set())


def _fill_to(
    rows: int,
    index: GrowingIndex,
    kept: StateFile,
    stop: threading.Event,
    progress: Progress,
) -> None:
    progress.stage(f"filling to {rows:,} rows", max(rows - kept.state.rows, 1), "rows")
    while kept.state.rows < rows and not stop.is_set():
        state = kept.state
        cpu, began = index.cpu_s(), time.perf_counter()
        studies, written = index.fill(state.next_study, state.rows, rows - state.rows)
        kept.change(
            rows=state.rows + written,
            next_study=state.next_study + studies,
            fill_rows=state.fill_rows + written,
            fill_wall_s=state.fill_wall_s + time.perf_counter() - began,
            fill_cpu_s=state.fill_cpu_s + index.cpu_s() - cpu,
        )
        progress.advance(written)


def _measure_at(
    rows: int,
    index: GrowingIndex,
    kept: StateFile,
    stop: threading.Event,
    progress: Progress,
) -> None:
    state = kept.state
    progress.stage(f"measuring at {rows:,} rows", WARM_PROBES + PROBES, "probes")
    if not index.settle(stop):
        progress.note("merges still run: probes share the engine with them")
    first = state.next_probe
    # Told beforehand: a run that is killed here never gives the same probe twice.
    kept.change(next_probe=first + WARM_PROBES + PROBES)
    probes = []
    for number in range(first, kept.state.next_probe):
        probes.append(index.probe(number, state.rows))
        progress.advance()
    large = LARGE_STUDIES * len(state.checkpoints)
    for number in range(large, large + LARGE_STUDIES):
        index.add_large_study(number, state.rows)
    index.settle(stop)
    keys = Keys(state.seed, state.next_study, large + LARGE_STUDIES)
    generator = random.Random(f"{state.seed}/keys/{rows}")
    queries = ask_all(index.database, keys, generator)
    size = index.size()
    checkpoint = Checkpoint(
        rows=size.rows,
        rows_wanted=rows,
        bytes_on_disk=size.bytes_on_disk,
        parts=size.parts,
        probes=tuple(probes[WARM_PROBES:]),
        queries=queries,
        fill_rows=state.fill_rows,
        fill_wall_s=state.fill_wall_s,
        fill_cpu_s=state.fill_cpu_s,
    )
    kept.change(
        checkpoints=(*state.checkpoints, checkpoint),
        fill_rows=0,
        fill_wall_s=0.0,
        fill_cpu_s=0.0,
    )
