"""`hilum replay`: its options and its lines.

Invariant: nothing is computed here, and `--json` prints exactly one document.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from contracts.failures import FatalError
from operations.answers import out, table, write_json
from operations.command_line import AsJson, SettingsFile, State, answering, engines_of, tell
from operations.context import DEFAULT_STATE_DIRECTORY, Context

if TYPE_CHECKING:
    from operations.replay.rebuild import Rebuilt
    from operations.replay.rewind import Rewound

replay_app = typer.Typer()


class Into(StrEnum):
    """Where an index is rebuilt."""

    SHADOW = "shadow"


class Site(StrEnum):
    """Whose index is meant."""

    PRIMARY = "primary"
    DR = "dr"


@replay_app.command()
@answering
def replay(
    into: Annotated[Into | None, typer.Option(help="Rebuild the index beside itself.")] = None,
    from_bucket: Annotated[
        bool, typer.Option("--from-bucket", help="From the packs alone; else from the topics.")
    ] = False,
    site: Annotated[Site, typer.Option(help="Whose index.")] = Site.PRIMARY,
    swap: Annotated[bool, typer.Option("--swap", help="Put it in place if it is equal.")] = False,
    accept: Annotated[
        bool, typer.Option("--accept-differences", help="Put it in place also if it differs.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Drop a shadow that was begun, and begin anew.")
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds for what is under way.", min=0)] = 60.0,
    consumer: Annotated[
        str | None, typer.Option(help="Let this consumer read history again.")
    ] = None,
    since: Annotated[str, typer.Option("--from", help="beginning, or a time (ISO 8601).")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what --from means.")] = False,
    drop: Annotated[
        str | None, typer.Option(help="Remove the shadow, or an index that a swap kept.")
    ] = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Rebuild an index from topics or packs, or let a consumer read history again."""
    # Here: the other commands start without what only this one needs.
    from operations.replay.rebuild import RebuildOptions, drop_kept, rebuild
    from operations.replay.rewind import parse_since, rewind

    _require_one(into, consumer, drop)
    context = Context(state, 0, settings, as_json)
    stack = None if settings else state
    if consumer is not None:
        if not since:
            raise FatalError("--consumer needs --from", "add --from beginning, or a time")
        loaded, at = context.settings(), parse_since(since)
        return _show_rewound(rewind(loaded, consumer, at, dry_run, stack, tell=tell), as_json)
    with engines_of(context) as engines:
        if drop is not None:
            drop_kept(engines, site.value, drop)
            return _show_dropped(drop, as_json)
        options = RebuildOptions(
            site.value, from_bucket, swap, accept, restart, wait_s=wait, state_directory=stack
        )
        return _show_rebuilt(rebuild(engines, options, tell), as_json)


def _require_one(into: Into | None, consumer: str | None, drop: str | None) -> None:
    if sum(chosen is not None for chosen in (into, consumer, drop)) != 1:
        raise FatalError(
            "name one thing to do", "use --into shadow, or --consumer NAME, or --drop NAME"
        )


def _show_rebuilt(answer: Rebuilt, as_json: bool) -> bool:
    if as_json:
        write_json(answer)
        return answer.ok
    if answer.views:
        table(
            f"Index of {answer.site} and its shadow, from {answer.source}",
            ("view", "rows", "in shadow", "only in shadow", "only in use", "differ"),
            (
                (v.view, v.live, v.shadow, v.missing_in_live, v.missing_in_shadow, v.differs)
                for v in answer.views
            ),
        )
    for view in answer.views:
        for row in view.listed:
            line = f"  {view.view} {' '.join(row.key)}: {row.what} {', '.join(row.columns)}"
            out.print(line.rstrip(), soft_wrap=True, markup=False)
    for view_name, columns in answer.left_out.items():
        out.print(f"[dim]not compared in {view_name}: {', '.join(columns)}[/]", soft_wrap=True)
    for key in answer.unreadable_packs:
        out.print(f"[red]not readable[/] {key}", soft_wrap=True)
    out.print(
        f"{answer.instances:,} instances in {answer.seconds:.1f} s, "
        f"{answer.instances_per_s:,.0f}/s; {answer.refused} records refused"
    )
    if answer.is_swapped:
        out.print(f"[green]in place[/]; what was in use is kept as {answer.kept_as}")
    elif not answer.ok:
        out.print("[red]not equal[/]: see the rows above; --accept-differences puts it in place")
    return answer.ok


def _show_rewound(answer: Rewound, as_json: bool) -> bool:
    if as_json:
        write_json(answer)
        return answer.ok
    again = "would be read again" if answer.is_dry_run else "will be read again"
    for one in answer.topics:
        out.print(f"{one.topic}: {one.records:,} records of {one.partitions} partitions {again}")
    return answer.ok


def _show_dropped(name: str, as_json: bool) -> bool:
    if as_json:
        write_json({"ok": True, "dropped": name})
    else:
        out.print(f"dropped {name}")
    return True
