"""What every command shares: its options, its exit code, its errors.

Invariant: exit code 0 only when the answer is good, 1 when it is not, 2 for wrong usage, 78 when
the stack is wrongly set up; every error names the next step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from contracts.failures import EXIT_FAILED, EXIT_FATAL, EXIT_OK, FatalError, HilumError
from infra.connect import Engines, connect
from infra.telemetry import Metrics
from operations.answers import plain_text, progress_out, write_json
from operations.context import Context

State = Annotated[
    Path,
    typer.Option("--state", envvar="HILUM_STATE", help="Where the local stack keeps its state."),
]
PortOffset = Annotated[
    int,
    typer.Option("--port-offset", envvar="HILUM_PORT_OFFSET", help="Added to every port; × 1000."),
]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="A settings file of your own.", dir_okay=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")]


def answering(command: Callable[..., bool]) -> Callable[..., None]:
    """Turns a command's verdict into the exit code, and failures into a line with the next step."""

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> None:
        try:
            is_good = command(*args, **options)
        except HilumError as cause:
            if options.get("as_json"):
                write_json({"ok": False, "error": plain_text(str(cause))})
            progress_out.print(f"[red]error[/] {escape(str(cause))}", soft_wrap=True)
            code = EXIT_FATAL if isinstance(cause, FatalError) else EXIT_FAILED
            raise typer.Exit(code) from None
        raise typer.Exit(EXIT_OK if is_good else EXIT_FAILED)

    return wrapped


class _Teller:
    """Progress lines on stderr; the same line is not said twice in a row."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, text: str) -> None:
        if text != self._last:
            progress_out.print(f"[dim]{escape(text)}[/]", soft_wrap=True)
        self._last = text


tell: Callable[[str], None] = _Teller()


@contextmanager
def engines_of(context: Context) -> Iterator[Engines]:
    engines = connect(context.settings(), "hilum-cli", Metrics())
    try:
        yield engines
    finally:
        engines.close()
