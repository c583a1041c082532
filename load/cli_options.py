"""Options that several load commands share.

Invariant: the same word means the same everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ReportPlace = Annotated[
    Path | None,
    typer.Option("--report", help="Where the report goes.", file_okay=False, show_default=False),
]
Seed = Annotated[int, typer.Option(help="The same seed, the same load.", min=0, max=10**8 - 1)]
