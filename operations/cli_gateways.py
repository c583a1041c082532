"""`hilum gateways`: its options and its lines.

Invariant: nothing is computed here, and `--json` prints exactly one document.
"""

from __future__ import annotations

from typing import Annotated

import typer

from operations.answers import out, table, write_json
from operations.command_line import AsJson, SettingsFile, State, answering, engines_of
from operations.context import DEFAULT_STATE_DIRECTORY, Context

gateways_app = typer.Typer(no_args_is_help=True, help="Which gateways have spoken.")


@gateways_app.command("list")
@answering
def list_gateways(
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Every gateway id with its last word."""
    from operations.gateways import gateway_rows

    rows = gateway_rows(Context(state, 0, settings, as_json).settings().kafka)
    if as_json:
        write_json({"ok": True, "gateways": rows})
        return True
    table(
        f"{len(rows)} gateways",
        ("gateway", "site", "id", "last word", "unarchived", "receipts to publish"),
        (
            (
                row.name,
                row.site,
                row.gateway_id,
                f"{row.silent_s:.0f} s ago",
                row.unarchived,
                row.receipts_unpublished,
            )
            for row in rows
        ),
    )
    return True


@gateways_app.command()
@answering
def retire(
    gateway_id: Annotated[str, typer.Argument(help="Its id, as `gateways list` shows it.")],
    lost: Annotated[
        bool, typer.Option("--lost", help="Its disk is gone with what it still held.")
    ] = False,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Wait no longer for a gateway that was replaced; what it acknowledged stays to be verified."""
    from operations.gateways import retire as retire_gateway

    with engines_of(Context(state, 0, settings, as_json)) as engines:
        row = retire_gateway(engines, gateway_id, lost)
    if as_json:
        write_json({"ok": True, "retired": row})
        return True
    out.print(f"retired {row.name} of {row.site} ({row.gateway_id}), silent since {row.said_at}")
    out.print("whether an archive has all that it acknowledged: hilum verify")
    return True
