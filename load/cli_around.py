"""`load history`, `peers`, `plan`, `studies`: what stands around a measurement.

Invariant: an option is checked before anything starts; the room that measures does the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from load.answer import Answer, carry_out
from load.cli_options import ReportPlace
from operations.command_line import AsJson, State, answering
from operations.context import DEFAULT_STATE_DIRECTORY

# Each command imports its room itself: SciPy, plotly and the codecs cost two seconds, which
# `--help` and a mistyped option must not.

around_app = typer.Typer()


@around_app.command()
@answering
def history(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Reports, or directories to look through.")
    ] = None,
    of: Annotated[str, typer.Option("--of", help="Only runs of this command.")] = "",
    report: ReportPlace = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    as_json: AsJson = False,
) -> bool:
    """The newest run beside the earlier ones, as ratios, with curves."""
    from load.report.history import HistoryOptions, run_history

    answer = Answer("history", state, report, as_json, has_tables=True, has_figures=False)
    options = HistoryOptions(tuple(paths or (answer.reports,)), of)
    return carry_out(answer, lambda progress: run_history(options, progress))


@around_app.command()
@answering
def peers(
    install: Annotated[
        bool, typer.Option("--install", help="Install what is missing (root on Debian).")
    ] = False,
    report: ReportPlace = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    as_json: AsJson = False,
) -> bool:
    """Which receivers, senders and checkers of others are there, and how to get them."""
    from load.receivers.peers import PeersOptions, run_peers

    answer = Answer("peers", state, report, as_json, has_tables=True)
    return carry_out(answer, lambda progress: run_peers(PeersOptions(install, state), progress))
