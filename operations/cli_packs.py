"""`hilum packs`: its options and its lines.

Invariant: nothing is computed here, and `--json` prints exactly one document.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from operations.answers import out, size_text, write_json
from operations.command_line import AsJson, SettingsFile, State, answering, engines_of, tell
from operations.context import DEFAULT_STATE_DIRECTORY, Context

packs_app = typer.Typer(no_args_is_help=True, help="The archive's objects, one study in each.")


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
