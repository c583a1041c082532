"""`load history`: what changed between runs, figure by figure, as ratio newest : earlier.

Invariant: only runs of one command, one mode and one machine are compared; another machine's runs
stand in a section of their own. A change is called one only when the two 90 % intervals do not
meet. It must not measure anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from contracts.failures import FatalError
from load.progress import Progress
from load.report.changes import Change, change, contradictions, ratio
from load.report.machine import machine_name, versions
from load.report.model import Figure, Plot, Report, Section, Series, Table, Value, Verdict
from load.report.texts import DASH, digits_text, figure_value_text, time_text, value_text
from load.report.write import JSON_NAME, read_report

COMMAND = "history"
# The newest are read; what is older says little about today's code.
REPORTS_MAX = 200
EARLIER_MAX = 6
# Beside the command, these parameters say what kind of run it was.
KIND_PARAMETERS = ("mode", "scenario", "sent to")
# These too, by name, where they are not as usual.
CHANGED_PARAMETERS = ("hours", "rate_factor", "rows_max", "stock sender")
USUAL = (None, "", 1, "storescu")


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """`paths`: reports, or directories to look through. `command` keeps only its runs; '' all."""

    paths: tuple[Path, ...]
    command: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One report and where it lies."""

    place: str
    report: Report

    @property
    def kind(self) -> str:
        """Command and mode: "compare quick"."""
        given = self.report.parameters
        parts = [self.report.command]
        parts += [str(given[name]) for name in KIND_PARAMETERS if given.get(name)]
        parts += [
            f"{name} {value_text(given[name])}"
            for name in CHANGED_PARAMETERS
            if given.get(name) not in USUAL
        ]
        return " ".join(parts)

    @property
    def machine(self) -> str:
        return machine_name(self.report.machine)

    @property
    def moment(self) -> str:
        """Start in UTC, as columns and curves name a run."""
        return time_text(self.report.started_at).removesuffix(" UTC")


def run_history(options: HistoryOptions, progress: Progress) -> Report:
    """The newest run of each kind on each machine beside the earlier ones.

    Raises FatalError when a named file is no report, or when there is none at all.
    """
    began_at, began = datetime.now(UTC), time.perf_counter()
    runs, unread = _read(options, progress)
    groups = _groups(runs)
    return Report(
        command=COMMAND,
        seed=0,
        started_at=began_at,
        seconds=time.perf_counter() - began,
        ok=True,
        # The runs' machines stand in their sections: this one measured nothing.
        machine={"reports_read": len(runs)},
        versions=versions(),
        parameters={"command_of_runs": options.command or "all"},
        figures=tuple(figure for group in groups for figure in _changed_figures(group)),
        sections=(_overview(groups, unread), *(_section(group) for group in groups)),
    )


def _read(options: HistoryOptions, progress: Progress) -> tuple[list[Run], list[str]]:
    """All runs, oldest first, and what was found and could not be read."""
    runs, unread = [], []
    files = _files(options.paths)
    progress.stage("reading reports", len(files), "reports")
    for path, is_named in files:
        try:
            report = read_report(path)
        except FatalError as cause:
            if is_named:
                raise
            unread.append(str(cause))
            continue
        finally:
            progress.advance()
        if report.command != COMMAND and options.command in ("", report.command):
            runs.append(Run(path.parent.name, report))
    if not runs:
        raise _nothing(options, unread)
    return sorted(runs, key=lambda run: run.report.started_at), unread


def _nothing(options: HistoryOptions, unread: Sequence[str]) -> FatalError:
    places = ", ".join(str(path) for path in options.paths)
    of_command = f" of `{options.command}`" if options.command else ""
    but = f" (could not be read: {'; '.join(unread)})" if unread else ""
    return FatalError(
        f"no report{of_command} in {places}{but}", "run `./hilum load compare --quick`"
    )


def _files(paths: Iterable[Path]) -> list[tuple[Path, bool]]:
    """Each report once, and whether it was named itself."""
    found: dict[Path, bool] = {}
    for path in paths:
        if path.is_dir():
            below = sorted(path.rglob(JSON_NAME), key=lambda one: one.stat().st_mtime)
            found |= {one: found.get(one, False) for one in below[-REPORTS_MAX:]}
        else:
            found[path] = True
    return list(found.items())


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that may be compared, newest group first, oldest run first."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.kind, run.machine), []).append(run)
    return sorted(groups.values(), key=lambda one: one[-1].report.started_at, reverse=True)


def _changed_figures(group: Sequence[Run]) -> list[Figure]:
    """The newest run beside the one before it, one figure each."""
    if len(group) < 2:
        return []
    newest, before = group[-1], group[-2]
    earlier = {figure.name: figure for figure in before.report.figures}
    figures = []
    for figure in newest.report.figures:
        found = ratio(figure, earlier.get(figure.name))
        if found is None:
            continue
        figures.append(
            Figure(
                name=f"{newest.report.command}.{figure.name}",
                title=f"{newest.kind}: {figure.title}",
                unit=figure.unit,
                verdict=Verdict.SHOWN,
                value=found.value,
                low=found.low,
                high=found.high,
                peer=f"run of {before.moment}",
                ours=figure.ours,
                theirs=earlier[figure.name].ours,
                note=change(figure, earlier[figure.name]).value,
                higher_is_better=figure.higher_is_better,
            )
        )
    return figures


def _overview(groups: Sequence[Sequence[Run]], unread: Sequence[str]) -> Section:
    rows = tuple(
        (group[-1].kind, group[-1].machine, len(group), group[0].moment, group[-1].moment)
        for group in groups
    )
    machines = {run.machine for group in groups for run in group}
    text = "Ratios are newest : earlier, times in UTC. A change is better or worse when the two"
    text += " intervals do not meet, else same; without intervals nothing is said."
    if len(machines) > 1:
        text += f" The runs are of {len(machines)} machines, which are not compared."
    columns = ("run", "machine", "runs", "first", "newest")
    tables = [Table("Runs by kind and machine", columns, rows)]
    if unread:
        tables.append(Table("Not read", ("why",), tuple((why,) for why in unread)))
    return Section("Runs", text, tuple(tables))


def _section(group: Sequence[Run]) -> Section:
    newest, earlier = group[-1], list(reversed(group[:-1]))[:EARLIER_MAX]
    tables = [_runs_table(group), _ratios_table(newest, earlier)] if earlier else []
    against = contradictions([run.report for run in group])
    if against:
        note = "The same version on the same machine: the instrument is not sure of these."
        columns = ("version", "figure", "met", "missed", "undecided")
        tables.append(Table("Contradicting verdicts", columns, tuple(against), note))
    return Section(
        title=f"{newest.kind} on {newest.machine}",
        text="" if earlier else f"One run only, {newest.moment}: nothing to compare with.",
        tables=tuple(tables),
        plots=tuple(_curve(group, figure) for figure in newest.report.figures) if earlier else (),
    )


def _runs_table(group: Sequence[Run]) -> Table:
    columns = ("started", "version", "seed", "met", "missed", "undecided", "failures", "report")
    rows: list[tuple[Value, ...]] = []
    for run in reversed(group):
        verdicts = [figure.verdict for figure in run.report.figures]
        counts = [verdicts.count(one) for one in (Verdict.MET, Verdict.MISSED, Verdict.UNDECIDED)]
        version = run.report.versions.get("hilum", "")
        failed = sum(failure.count for failure in run.report.failures)
        rows.append((run.moment, version, str(run.report.seed), *counts, failed, run.place))
    return Table("Runs", columns, tuple(rows))


def _ratios_table(newest: Run, earlier: Sequence[Run]) -> Table:
    columns = ("figure", "newest", "verdict", *(run.moment for run in earlier))
    by_name = [{figure.name: figure for figure in run.report.figures} for run in earlier]
    rows: list[tuple[Value, ...]] = []
    for figure in newest.report.figures:
        compared = [_ratio_text(figure, names.get(figure.name)) for names in by_name]
        rows.append((figure.title, figure_value_text(figure), figure.verdict.value, *compared))
    return Table("Newest : earlier", columns, tuple(rows))


def _ratio_text(newest: Figure, earlier: Figure | None) -> str:
    found = ratio(newest, earlier)
    if found is None or earlier is None:
        return DASH
    told = change(newest, earlier)
    return f"{digits_text(found.value)}×" + (f" {told}" if told is not Change.UNKNOWN else "")


def _curve(group: Sequence[Run], newest: Figure) -> Plot:
    moments, values, low, high = [], [], [], []
    for run in group:
        for figure in run.report.figures:
            if figure.name == newest.name and figure.value is not None:
                moments.append(run.moment)
                values.append(figure.value)
                low.append(figure.value if figure.low is None else figure.low)
                high.append(figure.value if figure.high is None else figure.high)
    unit = f"ratio ours : {newest.peer}" if newest.peer else newest.unit
    series = Series(newest.title, tuple(moments), tuple(values), tuple(low), tuple(high))
    note = f"goal {newest.goal}" if newest.goal else ""
    return Plot(newest.title, "line", "run", unit, (series,), note=note)
