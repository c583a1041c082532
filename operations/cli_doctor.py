"""`hilum doctor`: what is wrong here, and what to type into a modality.

Invariant: parses options, calls one function, shows its answer; computes nothing.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from operations.answers import out, table, write_json
from operations.command_line import AsJson, PortOffset, SettingsFile, State, answering, tell
from operations.context import DEFAULT_STATE_DIRECTORY, Context
from operations.doctor import Diagnosis, diagnose
from operations.doctor_peer import ModalitySettings, PeerAnswer, examine_peer

doctor_app = typer.Typer()

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@doctor_app.command()
@answering
def doctor(
    peer: Annotated[
        str | None, typer.Option("--peer", help="Settings for the modality of this AE title.")
    ] = None,
    gateway: Annotated[
        str | None, typer.Option("--gateway", help="With --peer: this gateway only.")
    ] = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    port_offset: PortOffset = 0,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Look at disks, clocks, engines, gateways and peers, with the command that fixes each."""
    context = Context(state, port_offset, settings, as_json)
    if peer is not None:
        answer = examine_peer(context.settings(), peer, gateway)
        write_json(answer) if as_json else _show_peer(answer)
        return answer.ok
    diagnosis = diagnose(context, tell)
    write_json(diagnosis) if as_json else _show(diagnosis)
    return diagnosis.ok


def _show(diagnosis: Diagnosis) -> None:
    table(
        "What was looked at",
        ("", "subject", "check", "seen"),
        (
            (
                Text(found.verdict, _COLOURS[found.verdict]),
                found.subject,
                found.check,
                found.seen,
            )
            for found in diagnosis.findings
        ),
    )
    for found in diagnosis.findings:
        if found.fix:
            name = f"{found.subject}, {found.check}"
            out.print(f"[{_COLOURS[found.verdict]}]{found.verdict}[/] {escape(name)}")
            out.print(f"    expected: {escape(found.expected)}", soft_wrap=True)
            out.print(f"    {escape(found.fix)}", soft_wrap=True)
    colour = "red" if diagnosis.errors else "green"
    out.print(
        f"[{colour}]{diagnosis.errors} error(s), {diagnosis.warnings} warning(s)[/] in "
        f"{len(diagnosis.findings)} findings, {diagnosis.elapsed_s:.0f} s"
    )


def _show_peer(answer: PeerAnswer) -> None:
    for found in answer.settings:
        _show_modality(found)
    for line in answer.echo:
        out.print(escape(line), soft_wrap=True)
    if answer.settings:
        return
    out.print(f"[red]not admitted[/] no rule names {escape(answer.ae_title)}, and none names *")
    if answer.nearest:
        out.print(f"did you mean {escape(', '.join(answer.nearest))}?")
    out.print("to admit it, add to the settings and start the gateway again:\n")
    out.print(escape(answer.settings_lines), soft_wrap=True)


def _show_modality(found: ModalitySettings) -> None:
    """Plain lines, so that they can be copied as they stand."""
    out.print(f"[bold]{escape(found.calling_ae_title)} to gateway {escape(found.gateway)}[/]")
    for name, value in (
        ("calling AE title (the modality's own)", found.calling_ae_title),
        ("called AE title", found.called_ae_title),
        ("host", found.host),
        ("port", found.port),
        ("TLS", found.tls),
        ("SOP classes", "every storage class, also private ones; Verification"),
        ("transfer syntaxes", found.transfer_syntaxes),
        ("maximum PDU length, bytes", found.pdu_bytes_max),
        ("association timeout, s", f"{found.association_timeout_s:g}"),
        ("response timeout, s, at least", f"{found.response_timeout_s:g}"),
        ("idle timeout, s, less than", f"{found.idle_timeout_s:g}"),
        ("associations at once, at most", found.associations_max),
        ("storage commitment", found.storage_commitment),
        ("admitted from", ", ".join(found.networks)),
        ("client certificate", ", ".join(found.certificates) or "not bound to one"),
        ("other UIDs than announced", f"{found.on_mismatch} (admit.mismatch)"),
    ):
        out.print(f"  {name + ':':<40}{escape(str(value))}", soft_wrap=True)
