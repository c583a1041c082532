"""History tells what changed, by ratio, and never mixes machines or modes."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console

from contracts.failures import FatalError
from load.progress import Progress
from load.report.changes import Change, change, contradictions, ratio
from load.report.history import HistoryOptions, run_history
from load.report.model import Report, Table, Verdict
from load.report.write import write_report
from tests.load.sample_report import MACHINE, STARTED_AT, sample_report
from tests.load.sample_report import ratio as figure


def history(*paths: Path, command: str = "") -> Report:
    progress = Progress(Console(file=io.StringIO()))
    return run_history(HistoryOptions(paths, command), progress)


def table(report: Report, title: str, section: int = 1) -> Table:
    return next(one for one in report.sections[section].tables if one.title == title)


def kept(directory: Path, *reports: Report) -> Path:
    for number, report in enumerate(reports):
        write_report(report, directory / f"run-{number}")
    return directory


def later(days: float, report: Report) -> Report:
    return replace(report, started_at=STARTED_AT + timedelta(days=days))


def test_the_newest_run_is_compared_with_each_earlier_one(tmp_path: Path) -> None:
    kept(
        tmp_path,
        later(2, sample_report(figure("a", 3.0), figure("new", 1.0))),
        later(0, sample_report(figure("a", 1.0))),
        later(1, sample_report(figure("a", 2.99))),
    )
    found = history(tmp_path)
    [row, new] = table(found, "Newest : earlier").rows
    assert row[0] == "durable ingest, a"
    assert row[3:] == ("1.00× same", "3.00× better")
    assert new[3:] == ("–", "–")
    # Beside the run before it, as a figure.
    [told] = found.figures
    assert told.name == "compare.a" and told.note == "same"
    assert told.value == pytest.approx(3.0 / 2.99)
    assert found.ok
    [curve, _] = found.sections[1].plots
    assert curve.series[0].y == (1.0, 2.99, 3.0)


def test_other_machines_and_modes_stand_apart(tmp_path: Path) -> None:
    kept(
        tmp_path,
        sample_report(figure("a", 1.0)),
        later(1, sample_report(figure("a", 9.0), machine={**MACHINE, "cores": 64})),
        later(2, sample_report(figure("a", 5.0), mode="full")),
    )
    found = history(tmp_path)
    assert found.figures == ()
    assert [row[0:3] for row in table(found, "Runs by kind and machine", 0).rows] == [
        ("compare full", "Example CPU, 2 cores, 24 GiB, ext4", 1),
        ("compare quick", "Example CPU, 64 cores, 24 GiB, ext4", 1),
        ("compare quick", "Example CPU, 2 cores, 24 GiB, ext4", 1),
    ]
    assert "2 machines, which are not compared" in found.sections[0].text


def test_a_broken_report_among_others_is_named_and_the_rest_compared(tmp_path: Path) -> None:
    kept(tmp_path, sample_report(figure("a", 1.0)), later(1, sample_report(figure("a", 2.0))))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "report.json").write_text("{")
    found = history(tmp_path)
    [[why]] = table(found, "Not read", 0).rows
    assert "broken" in str(why)
    assert len(found.figures) == 1
    with pytest.raises(FatalError, match="broken"):
        history(tmp_path / "broken" / "report.json")


def test_history_reads_no_history_and_only_the_command_asked_for(tmp_path: Path) -> None:
    kept(
        tmp_path,
        sample_report(figure("a", 1.0)),
        replace(sample_report(), command="history"),
        replace(sample_report(), command="growth"),
    )
    assert len(table(history(tmp_path), "Runs by kind and machine", 0).rows) == 2
    assert len(table(history(tmp_path, command="growth"), "Runs by kind and machine", 0).rows) == 1
    with pytest.raises(FatalError, match="no report of `hostile`"):
        history(tmp_path, command="hostile")


def test_nothing_to_read_names_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="compare --quick"):
        history(tmp_path)
    with pytest.raises(FatalError, match="reading the report"):
        history(tmp_path / "nowhere")


def test_a_change_is_beyond_both_intervals_and_knows_which_way_is_better() -> None:
    old, new = figure("a", 1.0, 0.1), figure("a", 1.5, 0.1)
    assert change(new, old) is Change.BETTER
    assert change(old, new) is Change.WORSE
    assert change(figure("a", 1.15, 0.1), old) is Change.SAME
    slower = replace(new, higher_is_better=False)
    assert change(slower, replace(old, higher_is_better=False)) is Change.WORSE
    assert change(replace(new, low=None), old) is Change.UNKNOWN


def test_a_ratio_carries_the_widest_interval_that_both_allow() -> None:
    found = ratio(figure("a", 3.0, 0.1), figure("a", 1.5, 0.2))
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.7 / 1.8, 3.3 / 1.2))
    assert ratio(figure("a", 3.0), None) is None
    assert ratio(figure("a", 3.0), figure("a", 0.0)) is None


def test_one_version_that_is_both_met_and_missed_contradicts_itself(tmp_path: Path) -> None:
    met = sample_report(figure("a", 2.0), figure("b", 2.0))
    missed = sample_report(
        figure("a", 0.5, verdict=Verdict.MISSED), figure("b", 1.0, verdict=Verdict.UNDECIDED)
    )
    kept(tmp_path, met, later(1, missed))
    found = table(history(tmp_path), "Contradicting verdicts")
    assert found.rows == (("abc", "a", 1, 1, 0),)
    # Another version may well miss what an earlier one met.
    other = replace(missed, versions={"hilum": "def"})
    assert contradictions([met, other]) == []
    # Two peers of one cell share a title: meeting one goal and missing another is no contradiction.
    two = sample_report(
        replace(figure("a", 2.0), title="one cell"),
        replace(figure("b", 0.5, verdict=Verdict.MISSED), title="one cell"),
    )
    assert contradictions([two, two]) == []
