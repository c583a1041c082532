"""`./hilum load …`: the commands in one place, and the process's entry.

Invariant: nothing is measured here; everything goes to loopback, or to a target that was named
and confirmed.
"""

from __future__ import annotations

import typer

from infra.telemetry import configure_logging
from load.cli_around import around_app
from load.cli_measuring import measuring_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The truth about speed: load as hospitals make it, peers in the same run, a report.",
)
app.add_typer(measuring_app)
app.add_typer(around_app)


def main() -> None:
    """The process's entry: known failures become a line and an exit code."""
    configure_logging("hilum-load", "error")
    app(prog_name="hilum load")
