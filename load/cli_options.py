"""Options that several load commands share.

Invariant: the same word means the same everywhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from contracts.failures import FatalError

ReportPlace = Annotated[
    Path | None,
    typer.Option("--report", help="Where the report goes.", file_okay=False, show_default=False),
]
Seed = Annotated[int, typer.Option(help="The same seed, the same load.", min=0, max=10**8 - 1)]


def chosen_of(name: str, known: Iterable[str], what: str) -> str:
    """`name`, which is one of `known`. Raises FatalError naming the nearest."""
    names = [str(one) for one in known]
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there is: {', '.join(names)}"
    raise FatalError(f"{name!r} is no {what}", hint)
