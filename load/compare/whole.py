"""The whole way, C-STORE to indexed, of a private stack beside Orthanc's C-STORE, in turns.

Invariant: an instance that does not come through is a failure by name, and its cell has no value;
each turn ends when everything is replicated, so that no work of ours runs into the peer's turn.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from contracts.failures import HilumError
from load.compare.bench import ROUNDS, Bench, Measured, Measurement, Mode, settle
from load.compare.contest import Contest
from load.compare.goals import CELLS as INGEST_CELLS
from load.compare.goals import WHOLE, Cell, Samples
from load.compare.pace import quiet
from load.compare.profiling import ProfileOptions, profile_under_load, python_processes
from load.compare.sending import CellSender
from load.compare.whole_sections import StageCost, cost_figures, whole_sections
from load.receivers import RECEIVERS, RunningReceiver
from load.report.model import Failure, Section
from load.senders import Planned
from load.stages import RunningStack, Stage, StageRun, Timeline, private_stack, whole_way

PEER = "orthanc"
_LEAN = {cell.key: cell for cell in INGEST_CELLS}
CELLS: dict[str, Cell] = {
    "whole.ct-4": _LEAN["lean-ct-4"],
    "whole.small-1": _LEAN["lean-small-1"],
    "whole.small-4": _LEAN["lean-small-4"],
}
FULL_ONLY = frozenset({"whole.small-4"})
# What a turn sends takes this long to come through: gathering (2 s at most) must not dominate.
SEND_S = {Mode.QUICK: 2.4, Mode.FULL: 10.0}
HALF_LOAD_S = {Mode.QUICK: 5.0, Mode.FULL: 30.0}
PEER_S = {Mode.QUICK: 0.8, Mode.FULL: 3.0}
STUDY_INSTANCES = 1_000
WARM_UP_INSTANCES = 200
INSTANCES_MAX = 10_000
DEADLINE_S = 60.0
PROFILE_S = 10.0
# Blocks of a half-load run whose percentiles are the samples.
BLOCKS = 5
# What consumers wait for a batch to fill, at most (consumers/gather.py).
GATHERING_S = 2.0
BLOCK_INSTANCES_MIN = 20
_START_S, _DRAIN_S, _STUDY_S = 20.0, 2.5, 12.0
_MIB = 1024 * 1024


@dataclass(slots=True)
class Found:
    """What the whole way gave so far."""

    samples: dict[str, Samples] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    costs: list[StageCost] = field(default_factory=list)
    runs: dict[str, list[StageRun]] = field(default_factory=dict)
    pack_bytes: list[int] = field(default_factory=list)


def whole_measurement(mode: Mode) -> Measurement:
    """A stack's start, turns of each cell, a study of 1,000 slices, half load."""
    turn_s = SEND_S[mode] + _DRAIN_S + PEER_S[mode]
    return Measurement(
        key=WHOLE,
        title="the whole way through a private stack",
        fixed_s=_START_S + _STUDY_S + HALF_LOAD_S[mode] + _DRAIN_S
        + len(_cells(mode)) * (ROUNDS * turn_s + _DRAIN_S),
        samples=0,
        measure=measure_whole,
    )  # fmt: skip


def measure_whole(bench: Bench) -> Measured:
    """Rates of each cell in pairs, packs, time to index at half load, CPU by process."""
    found = Found()
    for name in CELLS.keys() - _cells(bench.mode).keys():
        found.absent[name] = "only in --full"
    profiled: tuple[Section, ...] = ()
    try:
        profiled = _through_a_stack(bench, found)
    except (HilumError, OSError) as cause:
        # What was measured before stays; the rows that are missing say why.
        found.failures.append(Failure("the whole way", str(cause), 1))
        found.absent[WHOLE] = f"the measurement broke: {cause}"
    if found.pack_bytes:
        sizes = tuple(size / _MIB for size in found.pack_bytes)
        found.samples["packs.median"] = Samples(
            sizes, note=f"{len(sizes)} packs of CT ×4; the last of each turn is a remainder"
        )
    return Measured(
        samples=found.samples,
        figures=cost_figures(found.costs, bench.seed),
        sections=(*whole_sections(found.costs, found.runs), *profiled),
        failures=tuple(found.failures),
        absent=found.absent,
    )


def _through_a_stack(bench: Bench, found: Found) -> tuple[Section, ...]:
    """Everything that needs the stack, into `found`; the profile's section where it is asked."""
    with (
        private_stack(bench.directory / "stack", quiet()) as stack,
        _peer(bench, found) as peer,
    ):
        bench.pace.advance(_START_S)
        journey = _Journey(bench, stack, peer, found)
        journey.study()
        for name, cell in _cells(bench.mode).items():
            journey.cell(name, cell)
        journey.half_load()
        return _profiled(bench, stack, found)


def _cells(mode: Mode) -> dict[str, Cell]:
    is_full = mode is Mode.FULL
    return {name: cell for name, cell in CELLS.items() if is_full or name not in FULL_ONLY}


def _profiled(bench: Bench, stack: RunningStack, found: Found) -> tuple[Section, ...]:
    if not bench.with_profile:
        return ()
    options = ProfileOptions(seed=bench.seed, seconds=PROFILE_S)
    chosen = python_processes(stack)
    section, failures = profile_under_load(stack, chosen, options, bench.directory)
    found.failures += failures
    return (section,)


def _peer(bench: Bench, found: Found) -> AbstractContextManager[RunningReceiver | None]:
    receiver = RECEIVERS[PEER]
    if receiver.version() is None:
        for name in _cells(bench.mode):
            found.absent[name] = f"{PEER} is not installed; apt-get install {receiver.package}"
        return nullcontext()
    return receiver.running(bench.directory / "whole-peer")


class _Journey:
    """The runs through one stack, one after the other; each sends a study of its own."""

    def __init__(
        self, bench: Bench, stack: RunningStack, peer: RunningReceiver | None, found: Found
    ) -> None:
        self._bench = bench
        self._stack = stack
        self._peer = peer
        self._found = found
        # Beyond the studies that bare gateways were sent: the files are not mixed up by eye.
        self._study = 1_000_000

    def study(self) -> None:
        """One CT study of 1,000 slices as fast as it goes: how many packs hold it?

        It is the stack's warm-up as well.
        """
        run = self._run(CELLS["whole.ct-4"], STUDY_INSTANCES)
        self._bench.pace.advance(_STUDY_S)
        if run is None:
            self._found.absent["packs.study"] = "the study did not come through"
        else:
            self._found.samples["packs.study"] = Samples((float(len(run.packs)),))
            self._found.pack_bytes += [pack.size_bytes for pack in run.packs]
            self._found.runs["study"] = [run]

    def cell(self, name: str, cell: Cell) -> None:
        """Turns of one cell, ours and the peer's."""
        # The study was the first cell's warm-up.
        known = self._found.runs.get("study", ()) if cell is CELLS["whole.ct-4"] else ()
        warm_up = known[0] if known else self._run(cell, WARM_UP_INSTANCES)
        contest = self._contest(cell)
        self._bench.pace.advance(_DRAIN_S)
        if warm_up is None:
            self._found.absent[name] = "instances did not come through"
            return
        rate = _rate_without_gathering(warm_up)
        rates: list[float] = []
        for turn in range(self._bench.rounds):
            for is_ours in (True, False) if turn % 2 == 0 else (False, True):
                if not is_ours:
                    self._peers_turn(contest)
                    continue
                run = self._turn(name, cell, rate)
                if run is None:
                    self._found.absent[name] = "instances did not come through"
                    return
                rate = _rate_without_gathering(run)
                rates.append(run.rate(Stage.INDEXED))
        self._tell(name, rates, contest)

    def half_load(self) -> None:
        """CT ×4 at half the rate that came through: how long until an instance is indexed?"""
        runs = self._found.runs.get("whole.ct-4", ())
        names = ("index-time.p50", "index-time.p99")
        if not runs:
            self._found.absent |= dict.fromkeys(names, "no rate to halve: see whole.ct-4")
            return
        rate = sum(_rate_without_gathering(run) for run in runs) / len(runs) / 2
        seconds = HALF_LOAD_S[self._bench.mode]
        count = min(INSTANCES_MAX, max(BLOCKS * BLOCK_INSTANCES_MIN, round(rate * seconds)))
        run = self._run(CELLS["whole.ct-4"], count, rate)
        self._bench.pace.advance(seconds + _DRAIN_S)
        if run is None:
            self._found.absent |= dict.fromkeys(names, "instances did not come through")
            return
        self._found.runs["half load"] = [run]
        sent = f"{count} instances at {rate:.0f}/s"
        note = f"{sent}; each of {BLOCKS} blocks is a sample"
        self._found.samples[names[0]] = Samples(_medians(run), note=note)
        # Of all instances together: a block has too few for a 99th percentile of its own.
        slowest = run.timeline.latency(Stage.INDEXED).get_value_at_percentile(99.0) / 1e6
        self._found.samples[names[1]] = Samples((slowest,), note=sent)

    def _turn(self, name: str, cell: Cell, rate: float) -> StageRun | None:
        seconds = SEND_S[self._bench.mode]
        count = min(INSTANCES_MAX, max(cell.associations * 25, round(rate * seconds)))
        run = self._run(cell, count)
        self._bench.pace.advance(seconds + _DRAIN_S)
        if run is not None:
            self._found.runs.setdefault(name, []).append(run)
            self._found.costs.append(StageCost.of(name, run))
            if cell.kind == "ct":
                self._found.pack_bytes += [pack.size_bytes for pack in run.packs]
        return run

    def _run(self, cell: Cell, count: int, rate: float | None = None) -> StageRun | None:
        """One run followed to its end; None after a failure, which is told."""
        self._study += 1
        sender = CellSender(cell, self._bench.seed, {}, self._bench.directory)
        planned = sender.planned(count, self._study)
        if rate is not None:
            planned = [_due(one, place / rate) for place, one in enumerate(planned)]
        settle()
        run = whole_way(self._stack, planned, sender.lean_options(), DEADLINE_S)
        if run.failures:
            self._found.failures += [
                replace(failure, where=f"the whole way, {cell.title}: {failure.where}")
                for failure in run.failures
            ]
            return None
        return run

    def _contest(self, cell: Cell) -> Contest | None:
        if self._peer is None:
            return None
        bench = replace(self._bench, sample_s=PEER_S[self._bench.mode])
        sender = CellSender(cell, self._bench.seed, {}, self._bench.directory)
        contest = Contest(sender, {PEER: self._peer}, bench)
        contest.warm_up(PEER)
        return contest

    def _peers_turn(self, contest: Contest | None) -> None:
        if contest is not None:
            contest.begin_turn()
            contest.sample(PEER)

    def _tell(self, name: str, rates: list[float], contest: Contest | None) -> None:
        if contest is None:
            return
        column = contest.column
        self._found.failures += column.failures
        if PEER in column.dropped:
            self._found.absent[name] = f"{PEER}: {column.dropped[PEER]}"
            return
        self._found.samples[name] = Samples(
            tuple(rates),
            column.rates(PEER),
            "from the first byte sent until the last instance is indexed; the idle stack stands"
            f" beside {PEER}'s turns",
        )


def _rate_without_gathering(run: StageRun) -> float:
    """How many come through per second of a long run: from which the next turn is sized.

    Not what is told: a turn's own rate has all of its time in it.
    """
    seconds = max(run.sends[0].seconds, run.timeline.seconds(Stage.INDEXED) - GATHERING_S)
    return run.acknowledged / seconds


def _due(planned: Planned, due_s: float) -> Planned:
    return replace(planned, due_s=due_s)


def _medians(run: StageRun) -> tuple[float, ...]:
    """Seconds from acknowledged to indexed, the median of each block of consecutive sends."""
    ordered = sorted(run.timeline.instances, key=lambda one: one.sent_at)
    size = max(1, len(ordered) // BLOCKS)
    blocks = [ordered[start : start + size] for start in range(0, size * BLOCKS, size)]
    return tuple(
        Timeline(tuple(block)).latency(Stage.INDEXED).get_value_at_percentile(50.0) / 1e6
        for block in blocks
    )
