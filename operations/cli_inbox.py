"""`hilum inbox`: its options and its lines.

Invariant: nothing is computed here; with `--json` every line is one document.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer

from contracts.failures import HilumError
from operations.answers import out, plain_text
from operations.command_line import SettingsFile, State, answering
from operations.context import DEFAULT_STATE_DIRECTORY, Context
from operations.inbox import Inbox, InboxEvent, InboxOptions
from operations.send import SendRequest, peer_of, tls_client

inbox_app = typer.Typer()

AsLines = Annotated[bool, typer.Option("--json", help="Tell each event as a JSON line.")]


@inbox_app.command()
@answering
def inbox(
    folder: Annotated[Path, typer.Argument(help="The folder to watch.", metavar="DIR")],
    to: Annotated[str, typer.Option("--to", help="north, south, or AET@host:port.")] = "north",
    once: Annotated[bool, typer.Option("--once", help="Send what is there, then end.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete what was sent; else it goes to DIR/.sent.")
    ] = False,
    settle: Annotated[
        float, typer.Option(help="Seconds without a change until a file is complete.", min=0.05)
    ] = 2.0,
    calling: Annotated[str, typer.Option(help="Our calling AE title.")] = "HILUM-INBOX",
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS, also without the files.")] = False,
    ca: Annotated[Path | None, typer.Option("--ca", help="The peer's authority (PEM).")] = None,
    cert: Annotated[Path | None, typer.Option("--cert", help="Our certificate (PEM).")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Its key (PEM).")] = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_lines: AsLines = False,
) -> bool:
    """Send every file that is put into a folder, and put it away once it is stored."""
    tell = _as_json if as_lines else _show
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        context = Context(state, 0, settings, as_lines)
        request = SendRequest((folder,), to, calling, tls=tls_client(tls, ca, cert, key))
        options = InboxOptions(folder, settle, once, delete)
        return Inbox(options, peer_of(context, request), tell).watch()
    except HilumError as cause:
        if as_lines:
            tell(InboxEvent("error", reason=plain_text(str(cause))))
        raise


def _as_json(event: InboxEvent) -> None:
    sys.stdout.write(orjson.dumps(event).decode() + "\n")
    sys.stdout.flush()


def _show(event: InboxEvent) -> None:
    text = f"{event.event} {event.file} {event.reason}".strip()
    counts = ", ".join(f"{count} {name}" for name, count in event.counts.items())
    out.print(f"{text}: {counts}" if counts else text, soft_wrap=True, markup=False)
