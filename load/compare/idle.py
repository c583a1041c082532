"""What nothing costs: idle associations, and getting in beside peers that never speak.

Invariant: an idle association's share is what the receiver uses beyond what it uses with none; one
below the kernel's clock counts as that clock's step, never as zero.
"""

from __future__ import annotations

import math
import os
import time

from contracts.failures import RetryableError
from load.compare.bench import ROUNDS, Bench, Measured, Measurement, Mode
from load.compare.goals import IDLE, OURS, Samples
from load.compare.quiet_peers import (
    idle_associations,
    seconds_to_establish,
    silent_connections,
)
from load.receivers import RECEIVERS, RunningReceiver
from load.report.model import Failure

PEER = "pynetdicom"
# One pynetdicom server takes ten at once by default and needs half a core for eight.
ASSOCIATIONS = {OURS: 40, PEER: 8}
SILENT_CONNECTIONS = 200
ATTEMPTS = 100
SECONDS = {Mode.QUICK: 1.0, Mode.FULL: 3.0}
_START_S = 6.0


def idle_measurement(mode: Mode) -> Measurement:
    """Turns of a second or three for each of the two, once without associations each."""
    return Measurement(
        key=IDLE,
        title="idle associations and silent connections",
        fixed_s=_START_S + (ROUNDS + 1) * 2 * SECONDS[mode],
        samples=0,
        measure=measure_idle,
    )


def measure_idle(bench: Bench) -> Measured:
    """Share of a core an association, ours and the peer's in turns; time to get in."""
    seconds = SECONDS[bench.mode]
    samples: dict[str, Samples] = {}
    absent: dict[str, str] = {}
    failures: list[Failure] = []
    with RECEIVERS[OURS].running(bench.directory / "idle") as ours:
        accept = _accepting(ours, bench.rounds)
        if isinstance(accept, Samples):
            samples["accept.p99"] = accept
        else:
            failures.append(accept)
            absent["accept.p99"] = accept.what
        running = {OURS: ours}
        if RECEIVERS[PEER].version() is None:
            absent["idle.share.pynetdicom"] = "not installed"
            shares = _shares(bench, running, seconds)
        else:
            with RECEIVERS[PEER].running(bench.directory / "idle-peer") as peer:
                shares = _shares(bench, running | {PEER: peer}, seconds)
    samples["idle.share"] = Samples(
        shares[OURS], note=f"{ASSOCIATIONS[OURS]} associations, turns of {seconds:g} s"
    )
    if PEER in shares:
        samples["idle.share.pynetdicom"] = Samples(
            shares[OURS], shares[PEER], f"{ASSOCIATIONS[PEER]} associations of the peer"
        )
    return Measured(samples=samples, absent=absent, failures=tuple(failures))


def _shares(
    bench: Bench, running: dict[str, RunningReceiver], seconds: float
) -> dict[str, tuple[float, ...]]:
    """Percent of a core an association, turn by turn, by receiver."""
    without = {}
    for key, receiver in running.items():
        without[key] = _percent_used(receiver, seconds)
        bench.pace.advance(seconds)
    shares: dict[str, list[float]] = {key: [] for key in running}
    keys = list(running)
    for turn in range(bench.rounds):
        for key in keys if turn % 2 == 0 else keys[::-1]:
            count = ASSOCIATIONS[key]
            with idle_associations(running[key].target, count):
                used = _percent_used(running[key], seconds)
            share = (used - without[key]) / count
            shares[key].append(max(share, _step_percent(seconds) / count))
            bench.pace.advance(seconds)
    return {key: tuple(values) for key, values in shares.items()}


def _percent_used(receiver: RunningReceiver, seconds: float) -> float:
    cpu_s, began = receiver.cpu_s(), time.perf_counter()
    time.sleep(seconds)
    return 100 * (receiver.cpu_s() - cpu_s) / (time.perf_counter() - began)


def _step_percent(seconds: float) -> float:
    """The least that the kernel's accounting can show."""
    return 100 / os.sysconf("SC_CLK_TCK") / seconds


def _accepting(ours: RunningReceiver, rounds: int) -> Samples | Failure:
    """p99 of each turn, in ms."""
    found = []
    try:
        for _ in range(rounds):
            with silent_connections(ours.target, SILENT_CONNECTIONS):
                taken = sorted(seconds_to_establish(ours.target) for _ in range(ATTEMPTS))
            found.append(taken[math.ceil(0.99 * len(taken)) - 1] * 1e3)
    except RetryableError as cause:
        return Failure(f"beside {SILENT_CONNECTIONS} silent connections", str(cause), 1)
    return Samples(tuple(found), note=f"p99 of {ATTEMPTS} attempts in each of {rounds} turns")
