"""The goals table: every figure of `load compare`, its goal, and which measurement gives it.

Invariant: a figure's name never changes (history compares by it), and every goal here gives one
figure of every report, measured or not. It must not measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from load.compare.statistics import Average, counted_figure, ratio_figure, value_figure
from load.report.model import Figure, Verdict


@dataclass(frozen=True, slots=True)
class Samples:
    """What a measurement found for one goal; `theirs` stands pair by pair beside `ours`."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """One row. With a `peer` the goal is about the ratio ours : peer, else about ours in `unit`.

    At most one of `at_least` and `at_most` is set; without either the figure is shown. `is_count`:
    one number that was counted, without an interval. `aim` is what to go on for once the goal
    holds; it decides nothing.
    """

    name: str
    title: str
    unit: str
    measurement: str
    peer: str = ""
    at_least: float | None = None
    at_most: float | None = None
    aim: float | None = None
    average: Average = "mean"
    is_count: bool = False
    higher_is_better: bool = True

    def figure(self, samples: Samples, seed: int) -> Figure:
        """The figure with its verdict."""
        note = "; ".join(filter(None, (samples.note, self._aim_text())))
        if self.is_count:
            return counted_figure(
                self.name,
                self.title,
                self.unit,
                count=samples.ours[0],
                goal_max=self.at_most,
                goal_min=self.at_least,
                note=note,
            )
        if self.peer:
            return ratio_figure(
                self.name,
                self.title,
                self.unit,
                ours=samples.ours,
                theirs=samples.theirs,
                goal=self.at_least if self.at_least is not None else self.at_most,
                peer=self.peer,
                seed=seed,
                higher_is_better=self._is_higher_better(),
                note=note,
            )
        found = value_figure(
            self.name,
            self.title,
            self.unit,
            samples=samples.ours,
            goal_max=self.at_most,
            goal_min=self.at_least,
            average=self.average,
            seed=seed,
            note=note,
        )
        return replace(found, higher_is_better=self._is_higher_better())

    def not_measured(self, why: str) -> Figure:
        """The figure without a value, and why."""
        blank = self.figure(Samples((1.0,), (1.0,) if self.peer else ()), 0)
        return Figure(
            name=self.name,
            title=self.title,
            unit=self.unit,
            verdict=Verdict.NOT_MEASURED,
            goal=blank.goal,
            peer=self.peer,
            note=why,
            higher_is_better=self._is_higher_better(),
        )

    def _is_higher_better(self) -> bool:
        return self.higher_is_better and self.at_most is None

    def _aim_text(self) -> str:
        if self.aim is None:
            return ""
        return f"aim {self.aim:g}×" if self.peer else f"aim {self.aim:g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One column of the ingest matrix: a sender, an object and a number of associations."""

    key: str
    title: str
    is_lean: bool
    kind: str
    associations: int


CELLS = (
    Cell("stock-ct-1", "stock sender, CT ×1", False, "ct", 1),
    Cell("stock-ct-4", "stock sender, CT ×4", False, "ct", 4),
    Cell("stock-small-1", "stock sender, small ×1", False, "ct-small", 1),
    Cell("lean-ct-1", "lean sender, CT ×1", True, "ct", 1),
    Cell("lean-ct-4", "lean sender, CT ×4", True, "ct", 4),
    Cell("lean-small-1", "lean sender, small ×1", True, "ct-small", 1),
    Cell("lean-small-4", "lean sender, small ×4", True, "ct-small", 4),
)
# The order is that of one round: ours stands between the two peers that goals are about, so that
# each pair is measured back to back; odd rounds run backwards.
PEERS_ROUND = ("storescp", "hilum", "orthanc", "pynetdicom", "pynetdicom-flush", "orthanc-noflush")
OURS = "hilum"
PEERS = tuple(key for key in PEERS_ROUND if key != OURS)

INGEST = "ingest"
LIMITS = "limits"
WHOLE = "whole"
IDLE = "idle"
SCAN = "scan"
INSERT = "insert"
GROWTH = "growth"

_STORESCP_GOALS = {
    "stock-ct-4": (8.0, None),
    "stock-small-1": (80.0, None),
    "lean-ct-1": (1.0, 1.5),
    "lean-ct-4": (1.0, 1.5),
    "lean-small-1": (1.0, 1.5),
    "lean-small-4": (1.0, 1.5),
}
_ORTHANC_GOAL = 3.0


def _ingest_goal(cell: Cell, peer: str) -> Goal:
    at_least, aim = None, None
    if peer == "storescp":
        at_least, aim = _STORESCP_GOALS.get(cell.key, (None, None))
    elif peer == "orthanc" and cell.key in _STORESCP_GOALS:
        at_least = _ORTHANC_GOAL
    return Goal(
        name=ingest_name(cell.key, peer),
        title=f"durable ingest, {cell.title}",
        unit="instances/s",
        measurement=INGEST,
        peer=peer,
        at_least=at_least,
        aim=aim,
    )


def ingest_name(cell: str, peer: str) -> str:
    """The figure's name of one column against one peer."""
    return f"ingest.{cell}.{peer}"


_WHOLE = (
    Goal("whole.ct-4", "C-STORE → archived, verified and indexed, CT ×4", "instances/s", WHOLE,
         peer="orthanc", at_least=1.5),
    Goal("whole.small-1", "C-STORE → archived, verified and indexed, small ×1", "instances/s",
         WHOLE, peer="orthanc", at_least=1.5),
    Goal("whole.small-4", "C-STORE → archived, verified and indexed, small ×4", "instances/s",
         WHOLE, peer="orthanc", aim=1.0),
    Goal("index-time.p50", "time to index at half load, p50", "s", WHOLE, at_most=3.0),
    Goal("index-time.p99", "time to index at half load, p99", "s", WHOLE, at_most=6.0,
         is_count=True),
    Goal("packs.median", "pack size at peak, median", "MiB", WHOLE, at_least=16.0,
         average="median"),
    Goal("packs.study", "packs of a 1,000-slice study", "packs", WHOLE, at_most=64, is_count=True),
)  # fmt: skip
_ALONE = (
    Goal("share.write-pattern", "share of our own write pattern, CT ×4", "instances/s", LIMITS,
         peer="own write pattern", at_least=0.6),
    Goal("limits.fdatasync", "flushes of one block, one thread", "flushes/s", LIMITS),
    Goal("limits.disk-write", "plain writing, flushed once at the end", "MB/s", LIMITS),
    Goal("limits.loopback", "copying through one connection of loopback", "MB/s", LIMITS),
    Goal("idle.share", "CPU of an idle association", "% of a core", IDLE, at_most=0.2),
    Goal("idle.share.pynetdicom", "CPU of an idle association", "% of a core", IDLE,
         peer="pynetdicom", higher_is_better=False),
    Goal("accept.p99", "accept to established beside 200 silent connections, p99", "ms", IDLE,
         at_most=50.0),
    Goal("scan.header", "header scan, 260 elements", "ms", SCAN, at_most=0.5),
    Goal("scan.header.pydicom", "header scan, 260 elements", "ms", SCAN,
         peer="pydicom", higher_is_better=False),
    Goal("insert.all-tags", "replay and insert with all tags", "instances/s", INSERT,
         at_least=4_000),
    Goal("insert.typed", "replay and insert, typed columns only", "instances/s", INSERT,
         at_least=20_000),
)  # fmt: skip
# Names, units and verdicts are those of `load growth`, whose newest report fills these rows.
_GROWN = tuple(
    Goal(f"growth.{name}", title, unit, GROWTH, peer=peer, at_most=at_most)
    for name, title, unit, peer, at_most in (
        ("query.studies_by_patient", "study list by patient, 10 M instances", "ms", "", 50.0),
        ("query.studies_by_date", "study list by date range, 10 M instances", "ms", "", 50.0),
        ("query.studies_by_accession", "study list by accession number, 10 M instances", "ms",
         "", 50.0),
        ("query.metadata_1000", "metadata of a 1,000-instance study, 10 M instances", "ms", "",
         200.0),
        ("rows.cpu_ratio", "CPU time per instance, 10 M rows against a tenth", "ms",
         "a tenth of the rows", 1.1),
        ("rows.wall_ratio", "time per instance, 10 M rows against a tenth", "ms",
         "a tenth of the rows", 1.1),
        ("sites.cpu_ratio", "CPU time per instance, 8 sites against 1", "ms", "1 site", 1.1),
    )
)  # fmt: skip

GOALS: tuple[Goal, ...] = (
    *(_ingest_goal(cell, peer) for peer in PEERS for cell in CELLS),
    *_ALONE[:1],
    *_WHOLE,
    *_ALONE[1:],
    *_GROWN,
)


def figures_of(
    samples: dict[str, Samples], ready: Sequence[Figure], absent: dict[str, str], seed: int
) -> tuple[Figure, ...]:
    """One figure for every goal, in the order of the table, then the `ready` ones left over.

    `absent` gives the reason by a goal's name or by its measurement's.
    """
    given = {figure.name: figure for figure in ready}
    rows = [
        given.get(goal.name)
        or (goal.figure(samples[goal.name], seed) if goal.name in samples else None)
        or goal.not_measured(
            absent.get(goal.name) or absent.get(goal.measurement) or "not measured in this run"
        )
        for goal in GOALS
    ]
    named = {goal.name for goal in GOALS}
    return (*rows, *(figure for figure in ready if figure.name not in named))
