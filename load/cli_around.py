"""`load history`, `peers`, `plan`, `studies`: what stands around a measurement.

Invariant: an option is checked before anything starts; the room that measures does the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from load.answer import Answer, carry_out
from load.cli_options import ReportPlace, Seed
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


@around_app.command()
@answering
def plan(
    sites: Annotated[int, typer.Option(help="Hospitals and practices with a gateway.")],
    studies_per_day: Annotated[float, typer.Option(help="Of all sites together.")],
    instances_per_study: Annotated[float, typer.Option(help="The mean.")] = 270.0,
    size_kb: Annotated[float, typer.Option(help="The mean data set, thousands of bytes.")] = 525.0,
    peak_hour_share: Annotated[float, typer.Option(help="Of a day, in its busiest hour.")] = 0.15,
    largest_site_share: Annotated[
        float | None, typer.Option(help="Of all studies; else three times the mean site's.")
    ] = None,
    growth_per_year: Annotated[float, typer.Option(help="0.08 is 8 % a year.")] = 0.08,
    years: Annotated[int, typer.Option(help="Planned ahead.")] = 5,
    payload_hours: Annotated[float, typer.Option(help="The bytes stay on the bus.")] = 24.0,
    outage_hours: Annotated[float, typer.Option(help="A gateway bears alone.")] = 72.0,
    hold_hours: Annotated[float, typer.Option(help="Kept in the spool after archival.")] = 24.0,
    catch_up_hours: Annotated[float, typer.Option(help="To send what an outage left.")] = 24.0,
    wan_mbit: Annotated[
        float | None, typer.Option(help="The line of a site that is there; checked.")
    ] = None,
    dr: Annotated[bool, typer.Option("--dr/--no-dr", help="With a second site.")] = True,
    replication_factor: Annotated[int, typer.Option(help="Of Kafka's topics.")] = 3,
    load_max: Annotated[float, typer.Option(help="How busy in the busiest hour.")] = 0.5,
    broker_disk_tb: Annotated[float, typer.Option(help="One broker's disk.")] = 8.0,
    report: ReportPlace = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    as_json: AsJson = False,
) -> bool:
    """Partitions, brokers, disks, retention and lines on paper, from measured unit costs."""
    from load.plan import PlanOptions, run_plan

    answer = Answer("plan", state, report, as_json, has_tables=True, has_figures=False)
    options = PlanOptions(
        sites=sites,
        studies_per_day=studies_per_day,
        instances_per_study=instances_per_study,
        size_kb=size_kb,
        peak_hour_share=peak_hour_share,
        largest_site_share=largest_site_share,
        growth_per_year=growth_per_year,
        years=years,
        payload_hours=payload_hours,
        outage_hours=outage_hours,
        hold_hours=hold_hours,
        catch_up_hours=catch_up_hours,
        wan_mbit=wan_mbit,
        dr=dr,
        replication_factor=replication_factor,
        load_max=load_max,
        broker_disk_tb=broker_disk_tb,
        reports=answer.reports if answer.reports.is_dir() else None,
    )
    return carry_out(answer, lambda progress: run_plan(options, progress))


@around_app.command()
@answering
def studies(
    directory: Annotated[Path, typer.Argument(help="An empty folder, or one to be made.")],
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", help="ct, mr, dx, mg …; repeat for more; all.")
    ] = None,
    compression: Annotated[
        str, typer.Option(help="jpeg-ls, j2k, htj2k, rle …; each kind says which it has.")
    ] = "none",
    count: Annotated[int, typer.Option(help="Studies of each kind.")] = 1,
    instances_max: Annotated[
        int | None, typer.Option(help="At most so many instances in a study.")
    ] = None,
    seed: Seed = 1,
    report: ReportPlace = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    as_json: AsJson = False,
) -> bool:
    """Write synthetic studies as files, for use with any other tool."""
    from load.studies import KINDS
    from load.studies.command import StudiesOptions, run_studies

    answer = Answer("studies", state, report, as_json, has_tables=True)
    options = StudiesOptions(
        directory=directory,
        kinds=tuple(kinds or KINDS),
        compression=compression,
        count=count,
        instances_max=instances_max,
        seed=seed,
    )
    return carry_out(answer, lambda progress: run_studies(options, progress))
