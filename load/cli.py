"""`./hilum load …`: each command parses its options and hands over to the room that measures.

Invariant: nothing is measured here; everything goes to loopback, or to a target that was named
and confirmed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.telemetry import configure_logging
from load.answer import Answer, carry_out
from operations.command_line import AsJson, PortOffset, State, answering
from operations.context import DEFAULT_STATE_DIRECTORY

# Each command imports its room itself: SciPy, plotly and the codecs cost two seconds, which
# `--help` and a mistyped option must not.

ReportPlace = Annotated[
    Path | None,
    typer.Option("--report", help="Where the report goes.", file_okay=False, show_default=False),
]
Seed = Annotated[int, typer.Option(help="The same seed, the same load.", min=0, max=10**8 - 1)]
IsFull = Annotated[bool, typer.Option("--full/--quick", help="Longer samples and more peers.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The truth about speed: load as hospitals make it, peers in the same run, a report.",
)


def main() -> None:
    """The process's entry: known failures become a line and an exit code."""
    configure_logging("hilum-load", "error")
    app(prog_name="hilum load")


@app.command()
@answering
def run(
    scenario: Annotated[
        str, typer.Argument(help="clinic, hospital, network-peak, migration-night, smoke; a file.")
    ] = "clinic",
    hours: Annotated[
        float | None, typer.Option(help="Hours of the scenario's day.", min=0.001, max=24)
    ] = None,
    rate_factor: Annotated[
        float, typer.Option(help="Times as many studies.", min=0.001, max=1000)
    ] = 1.0,
    instances_max: Annotated[
        int | None, typer.Option(help="At most so many instances.", min=1)
    ] = None,
    attach: Annotated[
        bool, typer.Option("--attach", help="To the stack that is up, not to one of its own.")
    ] = False,
    target: Annotated[str | None, typer.Option(help="To another receiver: AET@host:port.")] = None,
    confirm: Annotated[
        str | None, typer.Option(help="Beyond loopback: the target's host once more.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Instead of the scenario's.", min=0, max=10**8 - 1)
    ] = None,
    report: ReportPlace = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    port_offset: PortOffset = 0,
    as_json: AsJson = False,
) -> bool:
    """A day of a clinic or a network, every instance followed through every stage."""
    from load.run import RunOptions, run_run

    options = RunOptions(
        scenario=scenario,
        seed=seed,
        hours=hours,
        rate_factor=rate_factor,
        instances_max=instances_max,
        attach=attach,
        state=state,
        port_offset=port_offset,
        target=target,
        confirm=confirm,
    )
    answer = Answer("run", state, report, as_json, has_tables=True)
    return carry_out(answer, lambda progress: run_run(options, progress))


@app.command()
@answering
def compare(
    full: IsFull = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this measurement; repeat for more.")
    ] = None,
    require: Annotated[
        str, typer.Option(help="`met`: a missed goal is a failure too.", metavar="met")
    ] = "",
    profile: Annotated[bool, typer.Option("--profile", help="With the top functions.")] = False,
    seed: Seed = 1,
    report: ReportPlace = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    as_json: AsJson = False,
) -> bool:
    """Every goal beside its peer in one run, with verdicts (quick: under 5 minutes)."""
    from load.compare.bench import Mode
    from load.compare.command import CompareOptions, run_compare

    if require not in ("", "met"):
        raise typer.BadParameter(f"{require!r}: only `met` can be required")
    answer = Answer("compare", state, report, as_json)
    options = CompareOptions(
        mode=Mode.FULL if full else Mode.QUICK,
        only=tuple(only or ()),
        seed=seed,
        require_met=require == "met",
        with_profile=profile,
        reports=answer.reports,
    )
    return carry_out(answer, lambda progress: run_compare(options, progress))


@app.command()
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
