"""`hilum packs`: its options and its lines.

Invariant: nothing is computed here, and `--json` prints exactly one document.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from operations.answers import out, size_text, table, write_json
from operations.command_line import AsJson, SettingsFile, State, answering, engines_of, tell
from operations.context import DEFAULT_STATE_DIRECTORY, Context

packs_app = typer.Typer(no_args_is_help=True, help="The archive's objects, one study in each.")


Studies = Annotated[list[str] | None, typer.Argument(help="Study Instance UIDs; else all.")]
Apply = Annotated[bool, typer.Option("--apply", help="Do it; else only say what would be done.")]


class Site(StrEnum):
    """Whose bucket is meant."""

    PRIMARY = "primary"
    DR = "dr"


@packs_app.command()
@answering
def fetch(
    key: Annotated[str, typer.Argument(help="Study, Series or SOP Instance UID.")],
    to: Annotated[Path, typer.Option("--to", help="The files go there.", file_okay=False)],
    site: Annotated[Site, typer.Option("--from", help="Which site is asked.")] = Site.PRIMARY,
    parallel: Annotated[int, typer.Option(help="Requests at once.", min=1, max=16)] = 8,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Write a study as Part-10 files: one request a pack, each data set re-hashed on the way."""
    # Here: the other commands start without what only this one needs.
    from operations.packs.fetch import fetch as fetch_study

    with engines_of(Context(state, 0, settings, as_json)) as engines:
        source = engines.primary if site is Site.PRIMARY else engines.dr
        answer = fetch_study(source, key, to, parallel=parallel, tell=tell)
    if as_json:
        write_json(answer)
        return answer.ok
    rate = answer.size_bytes / answer.seconds if answer.seconds else 0.0
    out.print(
        f"{answer.instances} instances, {size_text(answer.size_bytes)} from {answer.packs} packs"
        f" of {answer.site} with {answer.requests} requests in {answer.seconds:.1f} s"
        f" ({size_text(rate)}/s)"
    )
    for line in answer.wrong:
        out.print(f"[red]not written[/] {line}", soft_wrap=True)
    if answer.wrong:
        elsewhere = Site.DR if site is Site.PRIMARY else Site.PRIMARY
        out.print(f"what is damaged or missing here may be sound there: --from {elsewhere.value}")
    return answer.ok


@packs_app.command("list")
@answering
def list_packs(
    studies: Studies = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """The packs of each study, and which of them the others make superfluous."""
    from operations.packs.survey import listed_packs

    with engines_of(Context(state, 0, settings, as_json)) as engines:
        rows = listed_packs(engines, studies or ())
    if as_json:
        write_json({"ok": True, "packs": rows})
        return True
    table(
        f"{len(rows)} packs",
        ("study", "object key", "size", "deliveries", "archived", "at", "superfluous"),
        (
            (
                row.study_instance_uid,
                row.object_key,
                size_text(row.size_bytes),
                row.deliveries,
                row.archived_at,
                ", ".join(row.sites),
                "yes" if row.is_superfluous else "",
            )
            for row in rows
        ),
    )
    return True


@packs_app.command()
@answering
def merge(
    studies: Studies = None,
    min_packs: Annotated[int, typer.Option(help="Fewer are left alone.", min=2)] = 4,
    idle_hours: Annotated[float, typer.Option(help="No newer pack of the study.", min=0)] = 24.0,
    apply: Apply = False,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Make few packs of a study's many small ones; `collect` takes those away later."""
    from operations.packs.merge import MergeOptions
    from operations.packs.merge import merge as merge_packs

    options = MergeOptions(tuple(studies or ()), min_packs, timedelta(hours=idle_hours), apply)
    with engines_of(Context(state, 0, settings, as_json)) as engines:
        answer = merge_packs(engines, options, tell)
    if as_json:
        write_json(answer)
        return answer.ok
    for one in answer.merges:
        done = f"merged into {one.object_key}" if one.object_key else "would become one"
        size = size_text(one.size_bytes)
        out.print(
            f"{one.study_instance_uid}: {len(one.replaces)} packs, {one.deliveries} deliveries,"
            f" {size} {done}",
            soft_wrap=True,
        )
    for line in answer.failed:
        out.print(f"[red]not merged[/] {line}", soft_wrap=True)
    if answer.merges:
        next_step = "once the second site has them: hilum packs collect" if apply else "add --apply"
        out.print(next_step)
    else:
        out.print("nothing to merge")
    return answer.ok


@packs_app.command()
@answering
def collect(
    studies: Studies = None,
    apply: Apply = False,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Remove packs whose every delivery was just re-hashed in others, here and at the DR site."""
    from operations.packs.collect import collect as collect_packs

    with engines_of(Context(state, 0, settings, as_json)) as engines:
        answer = collect_packs(engines, studies or (), apply, tell)
    if as_json:
        write_json(answer)
        return answer.ok
    for one in answer.collected:
        out.print(f"{one.object_key}: held by {', '.join(one.held_by)}", soft_wrap=True)
    for line in answer.waiting:
        out.print(f"[yellow]stays[/] {line}", soft_wrap=True)
    for line in answer.damaged:
        out.print(f"[red]damaged[/] {line}", soft_wrap=True)
    verb = "collected" if apply else "may be collected; every byte is checked with --apply"
    out.print(f"{len(answer.collected)} packs ({size_text(answer.size_bytes)}) {verb}")
    return answer.ok
