"""The report of a run: `report.json` and one page with faults, lag and throughput over time.

Invariant: everything is taken from the history and the verdicts; the page needs nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from load.report.machine import machine, versions
from load.report.model import Failure, Figure, Plot, Report, Section, Series, Table
from load.report.model import Verdict as Goal
from load.report.write import write_report
from tests.faults.checker import EXAMPLES_MAX, Verdict
from tests.faults.history import FAILED, UNKNOWN, read_history

MEANINGS = {
    "I1": "acknowledged and kept byte for byte",
    "I2": "one current row for each content",
    "I4": "both sites alike",
    "I5": "nothing that was not sent",
    "I10": "every gauge is back",
}


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a report is made from: the part of a history since `began_s`, and the verdicts."""

    name: str
    seed: int
    started_at: datetime
    began_s: float
    history: Path
    verdicts: tuple[Verdict, ...]

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """The run's entries of one kind."""
        return [e for e in read_history(self.history, self.began_s) if e["kind"] == kind]

    def longest_lag_records(self) -> int:
        """The most that a consumer had not committed."""
        lags = (e["value"] for e in self.entries("gauge") if e["name"].startswith("lag of"))
        return int(max(lags, default=0))

    def not_answered(self) -> int:
        """C-STOREs that were refused, or that nobody answered."""
        return sum(e["outcome"] in (FAILED, UNKNOWN) for e in self.entries("store"))


def write_run_report(facts: RunFacts, directory: Path) -> Path:
    """Both files are in `directory`, whole; gives the page's path."""
    stores, faults = facts.entries("store"), facts.entries("fault")
    violations = [one for one in facts.verdicts if not one.holds]
    report = Report(
        command=f"faults {facts.name}",
        seed=facts.seed,
        started_at=facts.started_at,
        seconds=(datetime.now(UTC) - facts.started_at).total_seconds(),
        ok=not violations,
        machine=machine(),
        versions=versions("kafka-python", "minio", "clickhouse-connect"),
        figures=tuple(_figure(verdict) for verdict in facts.verdicts),
        sections=(
            Section(
                "Over time",
                "Faults as bars, then what waited and what was acknowledged.",
                plots=(
                    _faults_drawn(faults, facts.began_s),
                    _lag_drawn(facts.entries("gauge"), facts.began_s),
                    _throughput_drawn(stores, facts.began_s),
                ),
            ),
            Section("What the clients were told", tables=(_outcomes(stores),)),
        ),
        failures=tuple(
            Failure(
                one.invariant,
                MEANINGS[one.invariant],
                len(one.violations),
                one.violations[:EXAMPLES_MAX],
            )
            for one in violations
        ),
    )
    return write_report(report, directory).html


def _figure(verdict: Verdict) -> Figure:
    return Figure(
        name=verdict.invariant,
        title=f"{verdict.invariant}: {MEANINGS[verdict.invariant]}",
        unit="violations",
        verdict=Goal.MET if verdict.holds else Goal.MISSED,
        value=len(verdict.violations),
        goal="0",
        note=f"{verdict.checked} looked at",
        higher_is_better=False,
    )


def _faults_drawn(faults: Iterable[dict[str, Any]], began_s: float) -> Plot:
    """Each fault as a bar from its begin to its end, one row for each kind and target."""
    rows: dict[str, int] = {}
    open_since: dict[str, float] = {}
    bars: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for entry in faults:
        name = f"{entry['name']}: {entry['target']}"
        rows.setdefault(name, len(rows) + 1)
        at_s = entry["at_s"] - began_s
        if entry["is_begin"]:
            open_since[name] = at_s
        else:
            bars[name].append((open_since.pop(name, at_s), at_s))
    series = tuple(_bar_line(name, rows[name], spans) for name, spans in bars.items())
    return Plot("Faults", "line", "s since the run began", "fault", series)


def _bar_line(name: str, row: int, spans: Sequence[tuple[float, float]]) -> Series:
    xs: list[float] = []
    ys: list[float | None] = []
    for begin, end in spans:
        xs += [begin, end, end]
        ys += [row, row, None]
    return Series(name, tuple(xs), tuple(ys))


def _lag_drawn(gauges: Iterable[dict[str, Any]], began_s: float) -> Plot:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for entry in gauges:
        found[entry["name"]].append((entry["at_s"] - began_s, entry["value"]))
    series = tuple(
        Series(name, tuple(x for x, _ in points), tuple(y for _, y in points))
        for name, points in found.items()
    )
    return Plot("What waited", "line", "s since the run began", "records or deliveries", series)


def _throughput_drawn(stores: Iterable[dict[str, Any]], began_s: float) -> Plot:
    """Answers of each second, by how the C-STORE ended."""
    found: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for entry in stores:
        if entry["outcome"] != "sent":
            found[entry["outcome"]][int(entry["at_s"] - began_s)] += 1
    last = max((second for counts in found.values() for second in counts), default=0)
    seconds = tuple(float(second) for second in range(last + 1))
    series = tuple(
        Series(outcome, seconds, tuple(float(counts[int(second)]) for second in seconds))
        for outcome, counts in sorted(found.items())
    )
    return Plot("Throughput", "line", "s since the run began", "C-STOREs in a second", series)


def _outcomes(stores: Iterable[dict[str, Any]]) -> Table:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for entry in stores:
        counts[(entry["client"], entry["outcome"])] += 1
    rows = tuple((client, outcome, n) for (client, outcome), n in sorted(counts.items()))
    return Table("C-STOREs", ("client", "outcome", "count"), rows)
