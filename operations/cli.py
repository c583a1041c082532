"""The command line: each command parses options, calls one function, shows its answer.

Invariant: nothing is computed here, and `--json` prints exactly one document.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from contracts.failures import FatalError
from infra.telemetry import configure_logging
from operations import demo as demo_run
from operations import render, selftest, stack
from operations.answers import out, write_json
from operations.cli_certs import certs_app
from operations.cli_dead_letters import dlq_app
from operations.cli_doctor import doctor_app
from operations.cli_gateways import gateways_app
from operations.cli_inbox import inbox_app
from operations.cli_packs import packs_app
from operations.cli_proofs import answer_verify, answer_where, proofs_app
from operations.cli_replay import replay_app
from operations.command_line import (
    AsJson,
    PortOffset,
    SettingsFile,
    State,
    answering,
    engines_of,
    tell,
)
from operations.context import DEFAULT_STATE_DIRECTORY, Context
from operations.packs.adopt import adopt as adopt_packs
from operations.packs.adopt import with_adoption
from operations.send import SendRequest, tls_client
from operations.send import send as send_inputs
from operations.status import status as stack_status
from operations.verify import VerifyOptions, Way
from operations.verify import verify as verify_custody
from operations.where import where as find_where

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Hilum: medical images from many sites into one archive, without losing one.",
)
app.add_typer(dlq_app, name="dlq")
app.add_typer(certs_app, name="certs")
app.add_typer(gateways_app, name="gateways")
app.add_typer(packs_app, name="packs")
app.add_typer(proofs_app, name="proofs")
app.add_typer(doctor_app)
app.add_typer(inbox_app)
app.add_typer(replay_app)


def main() -> None:
    """The process's entry: known failures become a line and an exit code."""
    configure_logging("hilum", "error")
    app()


@app.command()
@answering
def up(
    detach: Annotated[bool, typer.Option("--detach", help="Return once all is ready.")] = False,
    state: State = DEFAULT_STATE_DIRECTORY,
    port_offset: PortOffset = 0,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Start the whole topology on this machine (or heal it)."""
    options = stack.StackOptions(state, port_offset, settings, detach)
    report = stack.up(options, tell)
    if as_json:
        write_json(report)
    else:
        out.print(f"[green]ready[/] in {report.seconds:.0f} s; state in {state}")
    if detach or not report.ok:
        return report.ok
    return stack.stay(options, tell)


@app.command()
@answering
def down(
    names: Annotated[list[str] | None, typer.Argument(help="Only these processes.")] = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    port_offset: PortOffset = 0,
    as_json: AsJson = False,
) -> bool:
    """Stop exactly what `up` started, or some of it; the state stays, and `up` heals."""
    only = frozenset(names) if names else None
    report = stack.down(stack.StackOptions(state, port_offset, only=only), tell)
    if as_json:
        write_json(report)
    else:
        out.print(f"stopped {len(report.stopped)} processes")
    return True


@app.command()
@answering
def status(
    state: State = DEFAULT_STATE_DIRECTORY,
    port_offset: PortOffset = 0,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Each process, each gateway's spool, each consumer's lag."""
    context = Context(state, port_offset, settings, as_json)
    options = stack.StackOptions(state, port_offset, settings, True)
    processes = [] if settings else stack.process_list(options)
    answer = stack_status(context.settings(), processes)
    if as_json:
        write_json(answer)
    else:
        render.show_status(answer)
    return answer.ok


@app.command()
@answering
def send(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files, folders, zip.")] = None,
    to: Annotated[str, typer.Option("--to", help="north, south, or AET@host:port.")] = "north",
    sample: Annotated[bool, typer.Option("--sample", help="Send a synthetic CT study.")] = False,
    slices: Annotated[int, typer.Option(help="Slices of the sample.", min=1, max=2000)] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 1,
    calling: Annotated[str, typer.Option(help="Our calling AE title.")] = "HILUM-SEND",
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS, also without the files.")] = False,
    ca: Annotated[Path | None, typer.Option("--ca", help="The peer's authority (PEM).")] = None,
    cert: Annotated[Path | None, typer.Option("--cert", help="Our certificate (PEM).")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Its key (PEM).")] = None,
    quarantine: Annotated[
        Path | None, typer.Option(help="Copy files there that are programs too.", file_okay=False)
    ] = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Send files, folders and zip archives to a gateway."""
    if not paths and not sample:
        raise FatalError("nothing to send", "name files or folders, or use --sample")
    context = Context(state, 0, settings, as_json)
    files = tls_client(tls, ca, cert, key)
    named = tuple(paths or ())
    request = SendRequest(named, to, calling, slices if sample else 0, seed, files, quarantine)
    report = send_inputs(context, request)
    if as_json:
        write_json(report)
    else:
        render.show_sent(report)
    return report.ok


@app.command()
@answering
def where(
    key: Annotated[str, typer.Argument(help="Study, Series, SOP UID or accession number.")],
    proof: Annotated[
        bool, typer.Option("--proof", help="What proves it, to check offline.")
    ] = False,
    public_key: Annotated[
        Path | None, typer.Option(help="With --proof: PEM; else the settings' key.")
    ] = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Every state of an image or a study, with its time."""
    context = Context(state, 0, settings, as_json)
    if proof:
        return answer_where(context, key, public_key)
    with engines_of(context) as engines:
        found = find_where(engines, key)
    if as_json:
        write_json(found)
    else:
        render.show_where(found)
    return found.ok


@app.command()
@answering
def verify(
    rehash: Annotated[bool, typer.Option("--bytes", help="Read and re-hash every byte.")] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="First index and announce packs no event names.")
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds for what is under way.", min=0)] = 120.0,
    way: Annotated[
        Way, typer.Option("--from", help="Count in ClickHouse, or read each source itself.")
    ] = Way.AUTO,
    proofs: Annotated[
        bool, typer.Option("--proofs", help="Check the custody proofs instead.")
    ] = False,
    public_key: Annotated[
        list[Path] | None, typer.Option(help="With --proofs: PEM; else the settings' key.")
    ] = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Compare what was acknowledged with both archives and both indexes."""
    context = Context(state, 0, settings, as_json)
    if proofs:
        return answer_verify(context, wait, public_key)
    with engines_of(context) as engines:
        adoption = adopt_packs(engines, tell) if adopt else None
        verdict = verify_custody(engines, VerifyOptions(wait, rehash, way), tell)
    if adoption is not None:
        verdict = with_adoption(verdict, adoption)
    if as_json:
        write_json(verdict)
    else:
        render.show_verdict(verdict)
    return verdict.ok


@app.command()
@answering
def demo(
    state: State = DEFAULT_STATE_DIRECTORY, port_offset: PortOffset = 0, as_json: AsJson = False
) -> bool:
    """Start the stack, send a study of 60 slices, and follow it into both archives."""
    report = demo_run.demo(Context(state, port_offset, None, as_json), tell)
    if as_json:
        write_json(report)
    return report.ok


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@answering
def test(
    context: typer.Context,
    soak: Annotated[bool, typer.Option("--soak", help="The long forms of the faults.")] = False,
    minutes: Annotated[
        int, typer.Option(help="With --soak: faults of each test.", min=1, max=600)
    ] = 5,
    seed: Annotated[int | None, typer.Option(help="With --soak: instead of a drawn one.")] = None,
    as_json: AsJson = False,
) -> bool:
    """Run the linters and every test; further arguments go to pytest."""
    if soak:
        steps = selftest.run_soak(minutes, seed, context.args, tell)
    else:
        steps = selftest.run_tests(context.args, tell)
    if as_json:
        write_json({"steps": steps})
    return all(step.exit_code == 0 for step in steps)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def load(context: typer.Context) -> None:
    """Load-test gateways and peers; `hilum load --help` lists what there is."""
    # A program of its own: its packages are no part of what a site installs.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "load", *context.args])
