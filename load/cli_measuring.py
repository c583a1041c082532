"""`load run`, `compare`, `hostile`, `growth`, `profile`: the commands that measure.

Invariant: an option is checked before anything starts; the room that measures does the rest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from load.answer import Answer, carry_out
from load.cli_options import ReportPlace, Seed, chosen_of
from operations.command_line import AsJson, PortOffset, State, answering
from operations.context import DEFAULT_STATE_DIRECTORY

# Each command imports its room itself: SciPy, plotly and the codecs cost two seconds, which
# `--help` and a mistyped option must not.

measuring_app = typer.Typer()


@measuring_app.command()
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


@measuring_app.command()
@answering
def compare(
    full: Annotated[
        bool, typer.Option("--full/--quick", help="Longer samples and more peers.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this measurement; repeat for more.")
    ] = None,
    require: Annotated[
        str, typer.Option(help="`met`: a missed goal is a failure too.", metavar="met")
    ] = "",
    profile: Annotated[bool, typer.Option("--profile", help="With the top functions.")] = False,
    stock: Annotated[
        Literal["storescu", "dcmsend"], typer.Option(help="Who sends the stock columns.")
    ] = "storescu",
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
        stock=stock,
        reports=answer.reports,
    )
    return carry_out(answer, lambda progress: run_compare(options, progress))


@measuring_app.command()
@answering
def hostile(
    peers: Annotated[
        list[str] | None, typer.Argument(help="Hostile peers by key, H1 to H30; all.")
    ] = None,
    receivers: Annotated[
        list[str], typer.Option("--receiver", help="Who is attacked; repeat for more.")
    ] = ["hilum"],  # noqa: B006  typer copies it
    full: Annotated[bool, typer.Option("--full/--quick", help="Longer samples.")] = False,
    seconds: Annotated[
        float | None, typer.Option(help="Of one sample; two make a pair.", show_default=False)
    ] = None,
    pairs: Annotated[int, typer.Option(help="Alternating pairs for each peer.")] = 5,
    seed: Seed = 1,
    report: ReportPlace = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    as_json: AsJson = False,
) -> bool:
    """The rate of a good sender beside each hostile peer (quick: under 5 minutes)."""
    from load.hostile.command import run_hostile
    from load.hostile.options import FULL_SAMPLE_S, QUICK_SAMPLE_S, HostileOptions

    options = HostileOptions(
        peers=tuple(peers or ()),
        seconds=seconds if seconds is not None else FULL_SAMPLE_S if full else QUICK_SAMPLE_S,
        seed=seed,
        receivers=tuple(receivers),
        pairs=pairs,
    )
    answer = Answer("hostile", state, report, as_json)
    return carry_out(answer, lambda progress: run_hostile(options, progress))


@measuring_app.command()
@answering
def growth(
    quick: Annotated[
        bool, typer.Option("--quick/--full", help="200,000 rows, or 10 million.")
    ] = False,
    rows: Annotated[
        int | None, typer.Option(help="Rows of the largest index.", show_default=False)
    ] = None,
    axes: Annotated[
        list[str] | None,
        typer.Option("--axis", help="rows, sites, partitions, consumers; repeat for more; all."),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", help="Keep the filled index there; a later run goes on from it."),
    ] = None,
    seed: Seed = 1,
    report: ReportPlace = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    as_json: AsJson = False,
) -> bool:
    """Cost per instance and query times while rows, sites, partitions, consumers grow."""
    from load.growth.command import run_growth
    from load.growth.options import Axis, GrowthOptions
    from load.growth.options import quick as quick_options

    options = quick_options(seed, keep) if quick else GrowthOptions(seed, directory=keep)
    options = replace(
        options,
        rows_max=options.rows_max if rows is None else rows,
        axes=tuple(Axis(chosen_of(axis, Axis, "axis")) for axis in axes or Axis),
    )
    answer = Answer("growth", state, report, as_json)
    return carry_out(answer, lambda progress: run_growth(options, progress))


@measuring_app.command()
@answering
def profile(
    stages: Annotated[
        list[str] | None, typer.Argument(help="Processes of the stack; all Python ones.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to sample.", min=1, max=120)] = 15.0,
    kind: Annotated[str, typer.Option(help="What is sent: ct or ct-small.")] = "ct",
    seed: Seed = 1,
    report: ReportPlace = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    as_json: AsJson = False,
) -> bool:
    """The functions in which a loaded private stack spends its time, process by process."""
    from load.compare.profiling import ProfileOptions, run_profile

    options = ProfileOptions(tuple(stages or ()), seconds, kind, seed)
    answer = Answer("profile", state, report, as_json, has_tables=True, has_figures=False)
    return carry_out(answer, lambda progress: run_profile(options, progress))
