"""The ingest matrix: our gateway and real receivers under the same senders, in one run.

Invariant: all receivers stand during the whole matrix, and only one is sent to at a time. A
receiver that is not installed or does not start is named in every figure that misses it.
"""

from __future__ import annotations

from contextlib import ExitStack

from contracts.failures import FatalError, RetryableError
from load.compare.bench import ROUNDS, Bench, Measured, Measurement, Mode
from load.compare.contest import Column, Contest
from load.compare.goals import (
    CELLS,
    GOALS,
    INGEST,
    OURS,
    PEERS,
    PEERS_ROUND,
    Cell,
    Samples,
    ingest_name,
)
from load.compare.ingest_sections import ingest_sections
from load.compare.sending import STOCK_LONGER, CellSender, StockFiles
from load.receivers import RECEIVERS, RunningReceiver
from load.report.model import Failure

# From its own rate into nothing on, a rate says more of the sender than of the receiver.
SENDER_BOUND = 0.8
# Renewing files, starting senders, clearing and writing back: what surrounds a sample.
_AROUND_S = 0.25
_START_S = 8.0


def ingest_measurement(mode: Mode) -> Measurement:
    """The matrix as the planner sees it; the warm-up of a receiver counts as one sample."""
    runs = [(cell, len(_receivers_of(cell, mode)) * (ROUNDS + 1)) for cell in CELLS]
    samples = sum(count for _, count in runs)
    as_long = sum(count * (1.0 if cell.is_lean else STOCK_LONGER) for cell, count in runs)
    return Measurement(
        key=INGEST,
        title="ingest, bare gateway and peers",
        fixed_s=_START_S + samples * _AROUND_S,
        samples=as_long + sum(cell.is_lean for cell in CELLS),
        measure=measure_ingest,
    )


def measure_ingest(bench: Bench) -> Measured:
    """Samples of every goal of the matrix, its tables and plots."""
    absent = _left_out(bench.mode)
    failures: list[Failure] = []
    versions: dict[str, str] = {}
    columns: list[Column] = []
    kinds: dict[str, StockFiles] = {}
    with ExitStack() as stack:
        running = _started(bench, stack, versions, failures)
        missing = {key: why for key, why in versions.items() if key not in running}
        for cell in CELLS:
            chosen = {k: running[k] for k in _receivers_of(cell, bench.mode) if k in running}
            files = bench.directory / "files"
            sender = CellSender(cell, bench.seed, kinds, files, stock=bench.stock)
            columns.append(Contest(sender, chosen, bench).run())
    samples: dict[str, Samples] = {}
    for column in columns:
        failures.extend(column.failures)
        for peer in PEERS:
            name = ingest_name(column.cell.key, peer)
            found = _samples(column, peer)
            if isinstance(found, Samples):
                samples[name] = found
            elif name not in absent:
                absent[name] = missing.get(peer) or missing.get(OURS) or found
    return Measured(
        samples=samples,
        sections=ingest_sections(columns, bench),
        failures=tuple(failures),
        absent=absent,
        versions=versions,
    )


def _receivers_of(cell: Cell, mode: Mode) -> tuple[str, ...]:
    """The receivers of a cell in the order of a round; quick leaves out what no goal is about."""
    if mode is Mode.FULL:
        return PEERS_ROUND
    decided = {goal.peer for goal in GOALS if goal.name.startswith(f"ingest.{cell.key}.") and
               goal.at_least is not None}  # fmt: skip
    return tuple(key for key in PEERS_ROUND if key in (OURS, "storescp") or key in decided)


def _left_out(mode: Mode) -> dict[str, str]:
    return {
        ingest_name(cell.key, peer): "only in --full"
        for cell in CELLS
        for peer in PEERS
        if peer not in _receivers_of(cell, mode)
    }


def _started(
    bench: Bench, stack: ExitStack, versions: dict[str, str], failures: list[Failure]
) -> dict[str, RunningReceiver]:
    """The receivers that run; `versions` says of the others why not."""
    running = {}
    wanted = {key for cell in CELLS for key in _receivers_of(cell, bench.mode)}
    for key in PEERS_ROUND:
        receiver = RECEIVERS[key]
        version = receiver.version()
        if version is None:
            package = f"; apt-get install {receiver.package}" if receiver.package else ""
            versions[key] = f"not installed{package}"
        if version is None or key not in wanted:
            continue
        try:
            running[key] = stack.enter_context(receiver.running(bench.directory / key))
            versions[key] = version
        except (FatalError, RetryableError) as cause:
            versions[key] = f"did not start: {cause}"
            failures.append(Failure(receiver.title, versions[key], 1))
    return running


def _samples(column: Column, peer: str) -> Samples | str:
    """The pairs of a cell against a peer, or why there are none."""
    for key in (OURS, peer):
        if key in column.dropped:
            return f"{key}: {column.dropped[key]}"
    ours, theirs = column.rates(OURS), column.rates(peer)
    if not ours or len(ours) != len(theirs):
        return "no complete pairs"
    return Samples(ours, theirs, sender_note(column, OURS))


def sender_note(column: Column, key: str) -> str:
    """Says so where a rate is near what the sender itself can do."""
    rates = column.rates(key)
    if not column.ceiling or not rates:
        return ""
    share = sum(rates) / len(rates) / column.ceiling
    return f"sender-bound: {share:.0%} of its own ceiling" if share >= SENDER_BOUND else ""
