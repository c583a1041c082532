"""The comparison by its own machinery, tiny: what is slow is found, what refuses is named."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.failures import FatalError
from load.compare.bench import SECONDS_PLANNED, Bench, Mode, alternating, sample_seconds
from load.compare.command import CompareOptions, run_compare
from load.compare.contest import Column, Contest
from load.compare.goals import CELLS, GOALS, Samples, figures_of
from load.compare.grown import NEXT_STEP, take_growth
from load.compare.measurements import measurements
from load.compare.pace import Pace, quiet
from load.compare.profile import parse_stacks
from load.compare.sending import CellSender
from load.compare.statistics import ratio_figure
from load.receivers import RECEIVERS, RunningReceiver
from load.report.model import Figure, Report, Verdict
from load.report.write import write_report
from load.senders import Target
from tests.polling import WITHIN_S, eventually

SMALL = next(cell for cell in CELLS if cell.key == "lean-small-1")
# The issue's own promise, of a machine with two cores.
QUICK_SECONDS_MAX, FULL_SECONDS_MAX = 300, 1200
REJECTED = bytes((3, 0, 0, 0, 0, 4, 0, 1, 1, 7))  # PS3.8 9.3.4


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(
        mode=Mode.QUICK,
        seed=7,
        sample_s=0.15,
        directory=tmp_path,
        reports=tmp_path / "reports",
        pace=Pace(quiet()),
    )


def contest(bench: Bench, receivers: Mapping[str, RunningReceiver]) -> Column:
    sender = CellSender(SMALL, bench.seed, {}, bench.directory / "files")
    return Contest(sender, receivers, bench).run()


def ratio(column: Column, ours: str, theirs: str, goal: float) -> Figure:
    return ratio_figure(
        "ratio",
        "Ratio",
        "instances/s",
        ours=column.rates(ours),
        theirs=column.rates(theirs),
        goal=goal,
        peer=theirs,
    )


def test_a_receiver_that_sleeps_10_ms_is_found(bench: Bench) -> None:
    columns: list[Column] = []

    def is_found() -> bool:
        """A machine that stalls both for longer than the sleep decides nothing: once more."""
        columns.append(contest(replace(bench, seed=len(columns)), running))
        assert not columns[-1].failures and not columns[-1].dropped
        return ratio(columns[-1], "slowed", "hilum", 0.8).verdict is Verdict.MISSED

    with ExitStack() as stack:
        running = {
            key: stack.enter_context(RECEIVERS[key].running(bench.directory / key))
            for key in ("slowed", "hilum")
        }
        eventually(is_found, "the sleep is found", 200)
    assert columns[-1].ceiling is not None


def test_hilum_beside_itself_is_not_found_slower_either_way(bench: Bench) -> None:
    columns: list[Column] = []

    def are_alike() -> bool:
        """Half, so that the machine may be busy; where it stalled one of them alone: once more."""
        column = contest(replace(bench, seed=len(columns)), running)
        columns.append(column)
        assert not column.failures
        assert all(sample.acknowledged for found in column.samples.values() for sample in found)
        pairs = (("one", "other"), ("other", "one"))
        found = [ratio(column, *pair, 0.5).verdict for pair in pairs]
        return Verdict.MISSED not in found

    with ExitStack() as stack:
        running = {
            key: stack.enter_context(RECEIVERS["hilum"].running(bench.directory / key))
            for key in ("one", "other")
        }
        eventually(are_alike, "neither is found slower", 200)


def test_a_receiver_that_rejects_is_named_and_not_measured(bench: Bench) -> None:
    with RECEIVERS["hilum"].running(bench.directory / "hilum") as ours, rejecting() as peer:
        column = contest(bench, {"hilum": ours, "storescp": peer})
    assert [failure.where for failure in column.failures] and column.rates("storescp") == ()
    assert "rejected" in column.dropped["storescp"]
    assert len(column.rates("hilum")) == bench.rounds
    absent = {"ingest.lean-small-1.storescp": column.dropped["storescp"]}
    figure = named(figures_of({}, (), absent, 1), "ingest.lean-small-1.storescp")
    assert figure.verdict is Verdict.NOT_MEASURED and "rejected" in figure.note


class Rejecting:
    """A listener that rejects every association; a receiver as far as a contest can tell."""

    def __init__(self, listener: socket.socket) -> None:
        self.target = Target("127.0.0.1", listener.getsockname()[1], "REJECTS")

    def process_ids(self) -> tuple[int, ...]:
        return ()

    def cpu_s(self) -> float:
        return 0.0

    def clear(self) -> None:
        return None

    def flushes(self) -> int | None:
        return None


@contextmanager
def rejecting() -> Iterator[RunningReceiver]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=reject_all, args=(listener,))
        thread.start()
        try:
            yield Rejecting(listener)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(WITHIN_S)


def reject_all(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(WITHIN_S)
            connection.recv(64 * 1024)
            connection.sendall(REJECTED)
            while connection.recv(1024):
                pass


def named(figures: tuple[Figure, ...], name: str) -> Figure:
    return next(figure for figure in figures if figure.name == name)


def test_every_goal_is_a_row_measured_or_not(bench: Bench) -> None:
    names = [goal.name for goal in GOALS]
    assert len(set(names)) == len(names)
    samples = {"scan.header": Samples((0.1, 0.11, 0.12))}
    figures = figures_of(samples, (), {"insert": "the engine is gone"}, 1)
    assert [figure.name for figure in figures] == names
    assert named(figures, "scan.header").verdict is Verdict.MET
    assert named(figures, "insert.typed").note == "the engine is gone"
    assert named(figures, "ingest.stock-ct-4.storescp").goal == "≥ 8×"


def test_a_run_of_one_measurement_tells_all_goals(bench: Bench) -> None:
    options = CompareOptions(only=("scan", "growth"), reports=bench.reports)
    with quiet() as progress:
        report = run_compare(options, progress)
        missing = run_compare(replace(options, only=("growth",), require_met=True), progress)
    assert report.ok and not report.failures
    scan = named(report.figures, "scan.header.pydicom")
    assert scan.value is not None and scan.theirs and not scan.higher_is_better
    assert named(report.figures, "growth.rows.cpu_ratio").note == NEXT_STEP
    # Nothing was measured, so nothing was missed.
    assert missing.ok


def test_an_unknown_measurement_names_the_nearest() -> None:
    with pytest.raises(FatalError) as raised, quiet() as progress:
        run_compare(CompareOptions(only=("ingets",)), progress)
    assert "'ingest'" in raised.value.next_step


@pytest.mark.parametrize(
    ("mode", "seconds_max"), [(Mode.QUICK, QUICK_SECONDS_MAX), (Mode.FULL, FULL_SECONDS_MAX)]
)
def test_the_plan_fits_its_promise(mode: Mode, seconds_max: int) -> None:
    chosen = measurements(mode)
    sample_s = sample_seconds(chosen, SECONDS_PLANNED[mode])
    assert sum(measurement.estimate_s(sample_s) for measurement in chosen) <= seconds_max
    assert len({measurement.key for measurement in chosen}) == len(chosen)


def test_turns_go_there_and_back() -> None:
    assert alternating("AB", 3) == list("ABBAAB")


def test_growth_rows_come_from_the_newest_full_report(bench: Bench) -> None:
    figure = Figure("growth.rows.cpu_ratio", "Cost", "ms", Verdict.MET, value=1.01)
    newest = grown(figure, "false", 3)
    reports = (grown(replace(figure, value=1.3), "false", 1), newest, grown(figure, "true", 9))
    for number, report in enumerate(reports):
        write_report(report, bench.reports / str(number))
    taken = take_growth(bench)
    (found,) = taken.figures
    assert found.value == 1.01 and "2026-03-03" in found.note and "10,000,000 rows" in found.note
    assert taken.absent["growth.sites.cpu_ratio"] == NEXT_STEP


def grown(figure: Figure, quick: str, day: int) -> Report:
    return Report(
        command="growth",
        seed=1,
        started_at=datetime(2026, 3, day, tzinfo=UTC),
        seconds=1.0,
        ok=True,
        machine={},
        versions={},
        parameters={"quick": quick, "rows_max": 10_000_000},
        figures=(figure,),
    )


def test_stacks_are_counted_by_function_and_with_calls() -> None:
    stacks = "main;work;hash 7\nmain;work 2\nmain;work;work 1\nbad\nrun;Event.wait (a.py:1) 5\n"
    alone, with_calls, waiting = parse_stacks(stacks)
    assert alone == {"hash": 7, "work": 3}
    assert with_calls == {"main": 10, "work": 10, "hash": 7}
    assert waiting == 5
