"""How every load command ends: the report on disk, its figures on the terminal, the exit code.

Invariant: with --json stdout carries exactly one document; an interrupted run leaves no report
and says so. It must not measure anything.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psutil
import typer
from rich.table import Table as Drawn
from rich.text import Text

from contracts.failures import FatalError
from load.progress import Progress, duration_text
from load.report import texts
from load.report.model import Failure, Figure, Report, Table, Verdict
from load.report.write import Paths, to_json, write_report
from operations.answers import out, progress_out, write_json

# As a shell tells of a program that SIGINT ended.
EXIT_INTERRUPTED = 130
REPORTS = "reports"
SENDER_MODULE = "load.lean_worker"
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The page shows all of them; a terminal is for a first look.
TERMINAL_ROWS_MAX = 40
EXAMPLES_MAX = 5
NAME_WIDTH = 20
VERDICT_WIDTH = max(len(verdict.value) for verdict in Verdict)
VERDICT_STYLES = {
    Verdict.MET: "green",
    Verdict.MISSED: "red",
    Verdict.UNDECIDED: "yellow",
    Verdict.SHOWN: "dim",
    Verdict.NOT_MEASURED: "dim",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command line says about its answer. `directory` None: below the state directory."""

    command: str
    state: Path
    directory: Path | None
    as_json: bool
    # A command whose answer is its tables shows them on the terminal too.
    has_tables: bool = False
    has_figures: bool = True

    @property
    def reports(self) -> Path:
        """Where reports go that were not given a place of their own."""
        return self.state / REPORTS


def carry_out(answer: Answer, run: Callable[[Progress], Report]) -> bool:
    """Runs, writes the report and shows it; true when the report is good.

    Ctrl-C and SIGTERM end the run's processes through its context managers, then exit 130.
    """
    directory = _place(answer)
    try:
        with _ending_cleanly(), Progress() as progress:
            report = run(progress)
            paths = write_report(report, directory)
    except KeyboardInterrupt:
        if answer.as_json:
            write_json({"ok": False, "error": "interrupted, no report was written"})
        progress_out.print("interrupted: the run's processes are ended, no report was written")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        # Nothing was measured: leave no empty place behind.
        with suppress(OSError):
            directory.rmdir()
    if answer.as_json:
        write_json(orjson.loads(to_json(report)) | {"report": str(paths.html)})
    else:
        _show(report, paths, answer)
    return report.ok


@contextmanager
def _ending_cleanly() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM is a KeyboardInterrupt here, what follows cannot break the end.

    Whoever supervises us sends SIGTERM, and to us alone: our senders are told as well, since the
    threads that wait for them would wait for the end of their sending.
    """

    def interrupt(*_: object) -> None:
        for one in _ENDING_SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if SENDER_MODULE in child.cmdline():
                    child.terminate()
        raise KeyboardInterrupt

    before = {one: signal.signal(one, interrupt) for one in _ENDING_SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _place(answer: Answer) -> Path:
    """The report's directory, made before the run: a long run must not end without a place."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{answer.command}"
    directory = answer.directory or answer.reports / name
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise FatalError(
            f"making the report's directory {directory}: {cause}", "choose another with --report"
        ) from cause
    if not os.access(directory, os.W_OK):
        raise FatalError(f"{directory} cannot be written", "choose another directory with --report")
    return directory


def _show(report: Report, paths: Paths, answer: Answer) -> None:
    if answer.has_tables:
        for section in report.sections:
            out.print(Text(section.title, "bold"))
            if section.text:
                out.print(Text(section.text))
            for table in section.tables:
                _show_table(table)
    if report.figures and answer.has_figures:
        out.print(_figures_table(report.figures))
    _show_failures(report.failures)
    verdict = Text("ok", "green") if report.ok else Text("not ok", "red")
    line = Text.assemble(verdict, f" after {duration_text(report.seconds)}, seed {report.seed}")
    out.print(line, Text(f"report: {paths.html}"), sep="\n", soft_wrap=True)


def _figures_table(figures: Iterable[Figure]) -> Drawn:
    drawn = Drawn(show_edge=False, pad_edge=False)
    drawn.add_column("figure", overflow="fold", min_width=NAME_WIDTH)
    drawn.add_column("verdict", min_width=VERDICT_WIDTH)
    for title in ("value", "90 % interval", "goal"):
        drawn.add_column(title, justify="right", overflow="fold")
    drawn.add_column("peer", overflow="fold")
    for figure in figures:
        drawn.add_row(
            Text(figure.title),
            Text(figure.verdict.value, VERDICT_STYLES[figure.verdict]),
            Text(texts.figure_value_text(figure)),
            Text(texts.interval_text(figure)),
            Text(figure.goal or texts.DASH),
            Text(figure.note if figure.verdict is Verdict.NOT_MEASURED else figure.peer),
        )
    return drawn


def _show_table(table: Table) -> None:
    drawn = Drawn(title=Text(table.title), title_justify="left", show_edge=False, pad_edge=False)
    numeric = texts.numeric_columns(table.rows)
    for index, column in enumerate(table.columns):
        drawn.add_column(
            Text(column),
            justify="right" if index in numeric else "left",
            overflow="fold",
            # Rows are found by their first cell: it folds last.
            min_width=min(NAME_WIDTH, _widest(table, 0)) if index == 0 else None,
        )
    for row in table.rows[:TERMINAL_ROWS_MAX]:
        drawn.add_row(*(Text(texts.value_text(value)) for value in row))
    out.print(drawn)
    if len(table.rows) > TERMINAL_ROWS_MAX:
        out.print(f"{len(table.rows) - TERMINAL_ROWS_MAX} more rows in the report")
    if table.note:
        out.print(Text(table.note, "dim"))
    out.print()


def _widest(table: Table, index: int) -> int:
    return max((len(str(row[index])) for row in table.rows if row), default=0)


def _show_failures(failures: Iterable[Failure]) -> None:
    for failure in failures:
        out.print(
            Text.assemble(
                ("failed ", "red"), f"{failure.where}: {failure.what} ({failure.count} times)"
            ),
            soft_wrap=True,
        )
        for example in failure.examples[:EXAMPLES_MAX]:
            out.print(Text(f"  {example}", "dim"), soft_wrap=True)
