"""What the machine can do without DICOM, and our gateway's share of it.

Invariant: gateway and write pattern take turns on the same disk with objects of the same size; a
limit is measured next to what it limits. It must not judge the limits themselves: they are shown.
"""

from __future__ import annotations

from collections.abc import Callable

from load.compare.bench import ROUNDS, Bench, Measured, Measurement, settle
from load.compare.contest import Contest
from load.compare.goals import CELLS, LIMITS, OURS, Samples
from load.compare.ingest import sender_note
from load.compare.sending import CellSender
from load.receivers import RECEIVERS
from load.receivers.limits import (
    disk_write_rate,
    fdatasync_rate,
    loopback_copy_rate,
    own_write_pattern,
)
from load.studies import default_cache, templates

CELL = next(cell for cell in CELLS if cell.key == "lean-ct-4")
# Of each limit in each turn: a flush takes tenths of a millisecond, a copy of 1 MB as long.
LIMIT_S = 0.4
_START_S, _AROUND_S = 4.0, 0.5


def limits_measurement() -> Measurement:
    """Ours and the pattern in each turn, then the three limits."""
    return Measurement(
        key=LIMITS,
        title="limits of the machine",
        fixed_s=_START_S + ROUNDS * (3 * LIMIT_S + _AROUND_S),
        samples=2 * ROUNDS + 1,
        measure=measure_limits,
    )


def measure_limits(bench: Bench) -> Measured:
    """Share of the write pattern, flushes, plain writes and copies per second."""
    disk = bench.directory / "limits"
    size_bytes = len(templates(CELL.kind, cache=default_cache()).data_set)
    sender = CellSender(CELL, bench.seed, {}, bench.directory / "files")
    limits: dict[str, Callable[[], float]] = {
        "limits.fdatasync": lambda: fdatasync_rate(disk, LIMIT_S),
        "limits.disk-write": lambda: disk_write_rate(disk, LIMIT_S),
        "limits.loopback": lambda: loopback_copy_rate(LIMIT_S),
    }
    found: dict[str, list[float]] = {name: [] for name in limits}
    pattern: list[float] = []
    with RECEIVERS[OURS].running(bench.directory / "limited") as running:
        contest = Contest(sender, {OURS: running}, bench)
        contest.warm_up(OURS)

        def write() -> None:
            settle()
            pattern.append(own_write_pattern(disk, size_bytes, bench.sample_s, CELL.associations))
            bench.pace.advance(bench.sample_s)

        def send() -> None:
            contest.sample(OURS)

        for turn in range(bench.rounds):
            contest.begin_turn()
            for act in (send, write) if turn % 2 == 0 else (write, send):
                act()
            for name, limit in limits.items():
                found[name].append(limit())
            bench.pace.advance(len(limits) * LIMIT_S)
        column = contest.finish()
    if OURS in column.dropped:
        return Measured(
            failures=tuple(column.failures),
            absent={"share.write-pattern": column.dropped[OURS]},
            samples={name: Samples(tuple(values)) for name, values in found.items()},
        )
    samples = {name: Samples(tuple(values)) for name, values in found.items()}
    samples["share.write-pattern"] = Samples(
        column.rates(OURS), tuple(pattern), sender_note(column, OURS)
    )
    return Measured(samples=samples)
