"""`hilum certs`: an authority for a laboratory, what it signs, and what certificates say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contracts.failures import FatalError
from operations.answers import out, progress_out, table, write_json
from operations.command_line import AsJson, SettingsFile, State, answering
from operations.context import DEFAULT_STATE_DIRECTORY, Context

if TYPE_CHECKING:
    from operations.certs_lab import Issued

certs_app = typer.Typer(no_args_is_help=True, help="TLS certificates: make a lab's, show.")

Directory = Annotated[
    Path | None, typer.Option("--dir", help="Where they lie; else `certs` in the state.")
]
Days = Annotated[int, typer.Option(help="How long they hold, 825 at most.")]
Network = Annotated[str, typer.Option(help="From where the clients come, for the printed rules.")]


@certs_app.command("init")
@answering
def certs_init(
    directory: Directory = None,
    gateway: Annotated[list[str] | None, typer.Option(help="Else north and south.")] = None,
    client: Annotated[list[str] | None, typer.Option(help="Calling AE title.")] = None,
    host: Annotated[list[str] | None, typer.Option(help="Name or address of a gateway.")] = None,
    days: Days = 365,
    network: Network = "127.0.0.0/8",
    state: State = DEFAULT_STATE_DIRECTORY,
    as_json: AsJson = False,
) -> bool:
    """Make a lab authority and its certificates; stdout has the settings to copy."""
    # Here: the other commands start without what only this one needs.
    from infra.local_stack import LOCAL_GATEWAYS
    from operations.certs_lab import LabRequest, create_lab

    request = LabRequest(
        (directory or state / "certs").resolve(),
        tuple(gateway or LOCAL_GATEWAYS),
        tuple(client or ("HILUM-SEND",)),
        tuple(host or ()),
        days,
    )
    return _tell_issued(create_lab(request), network, as_json)


@certs_app.command("issue")
@answering
def certs_issue(
    clients: Annotated[list[str], typer.Argument(help="Calling AE titles.")],
    directory: Directory = None,
    days: Days = 365,
    network: Network = "127.0.0.0/8",
    state: State = DEFAULT_STATE_DIRECTORY,
    as_json: AsJson = False,
) -> bool:
    """Make certificates for more modalities with the lab authority."""
    from operations.certs_lab import issue_clients

    issued = issue_clients((directory or state / "certs").resolve(), tuple(clients), days)
    return _tell_issued(issued, network, as_json)


@certs_app.command("show")
@answering
def certs_show(
    files: Annotated[list[Path] | None, typer.Argument(help="PEM; else the settings'.")] = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Subject, names, expiry and fingerprint, as an admit rule may name them."""
    from operations.certs import certificate_files, show

    paths = files or [
        p for _, p in certificate_files(Context(state, 0, settings, False).settings())
    ]
    if not paths:
        raise FatalError("the settings name no certificate", "name PEM files")
    shown = show(list(dict.fromkeys(paths)))
    if as_json:
        write_json({"certificates": shown})
    else:
        table(
            "Certificates",
            ("file", "until", "days", "may be named"),
            ((c.file, f"{c.not_after:%F}", c.days_left, "\n".join(c.identities)) for c in shown),
        )
    return all(one.days_left >= 0 for one in shown)


def _tell_issued(issued: tuple[Issued, ...], network: str, as_json: bool) -> bool:
    from operations.certs_lab import settings_lines

    lines = settings_lines(issued, network)
    if as_json:
        write_json({"issued": issued, "settings": lines})
        return True
    for one in issued:
        progress_out.print(f"{one.kind} {one.name}: {one.certificate_file}", soft_wrap=True)
    out.print(lines, markup=False, soft_wrap=True, end="")
    return True
