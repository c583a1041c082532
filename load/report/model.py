"""A report as values: figures with their goals, sections of tables and plots, and what failed.

Invariant: every command builds this and nothing else, so that one writer renders them all and
`history` can compare any two. It must not compute: a figure carries its samples and its verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias

FORMAT_VERSION = 1

Value: TypeAlias = float | int | str | None


class Verdict(StrEnum):
    """What the interval of a figure says about its goal (05: 90 % bootstrap)."""

    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided"
    # No goal is set: the figure is there to be looked at.
    SHOWN = "shown"
    # A peer is not installed, or the measurement failed; `note` says which and why.
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of a goals table.

    `value` is what the goal is about: a ratio ours : peer where `peer` is named, else ours in
    `unit`. `low` and `high` are the 90 % interval of `value`. `ours` and `theirs` hold the
    samples in `unit`, pair by pair (empty where the figure has none).
    """

    name: str
    title: str
    unit: str
    verdict: Verdict
    value: float | None = None
    low: float | None = None
    high: float | None = None
    goal: str = ""
    peer: str = ""
    ours: tuple[float, ...] = ()
    theirs: tuple[float, ...] = ()
    note: str = ""
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under column titles; None is shown as a dash."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve or one group of bars. `low` and `high`, where given, are error bars."""

    name: str
    x: tuple[float | str, ...]
    y: tuple[float | None, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot; axis titles name units."""

    title: str
    kind: Literal["line", "bar", "points"]
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: a sentence or two, then its tables and plots in this order."""

    title: str
    text: str = ""
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that went wrong `count` times: never averaged away.

    `where` names the target or the measurement, `examples` some of the instances.
    """

    where: str
    what: str
    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """One run of one command. `ok` is the exit code's verdict: no failure, nothing missed that
    the command was asked to hold."""

    command: str
    seed: int
    started_at: datetime
    seconds: float
    ok: bool
    machine: Mapping[str, Value]
    versions: Mapping[str, str]
    parameters: Mapping[str, Value] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    sections: tuple[Section, ...] = ()
    failures: tuple[Failure, ...] = ()
    format_version: int = FORMAT_VERSION
