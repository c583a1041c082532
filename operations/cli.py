"""The command line: each command parses options, calls one function, shows its answer.

Invariant: exit code 0 only when the answer is good, 1 when it is not, 2 for wrong usage, 78 when
the stack is wrongly set up; every error names the next step; `--json` prints one document.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.failures import EXIT_FAILED, EXIT_FATAL, EXIT_OK, FatalError, HilumError
from infra.connect import Engines, connect
from infra.telemetry import Metrics, configure_logging
from operations import demo as demo_run
from operations import render, selftest, stack
from operations.answers import out, progress_out, write_json
from operations.context import DEFAULT_STATE_DIRECTORY, Context
from operations.dead_letters import LetterFilter, dead_letters
from operations.dead_letters import redrive as redrive_letters
from operations.send import SendRequest
from operations.send import send as send_inputs
from operations.status import status as stack_status
from operations.verify import VerifyOptions
from operations.verify import verify as verify_custody
from operations.where import where as find_where

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Hilum: medical images from many sites into one archive, without losing one.",
)
dlq_app = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, redrive.")
app.add_typer(dlq_app, name="dlq")

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


def main() -> None:
    """The process's entry: known failures become a line and an exit code."""
    configure_logging("hilum", "error")
    app()


def _answering(command: Callable[..., bool]) -> Callable[..., None]:
    """Turns a command's verdict into the exit code, and failures into a line with the next step."""

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> None:
        try:
            is_good = command(*args, **options)
        except HilumError as cause:
            if options.get("as_json"):
                write_json({"ok": False, "error": str(cause)})
            progress_out.print(f"[red]error[/] {cause}", soft_wrap=True)
            code = EXIT_FATAL if isinstance(cause, FatalError) else EXIT_FAILED
            raise typer.Exit(code) from None
        raise typer.Exit(EXIT_OK if is_good else EXIT_FAILED)

    return wrapped


def _tell(text: str) -> None:
    progress_out.print(f"[dim]{text}[/]", soft_wrap=True)


@contextmanager
def _engines(context: Context) -> Iterator[Engines]:
    engines = connect(context.settings(), "hilum-cli", Metrics())
    try:
        yield engines
    finally:
        engines.close()


@app.command()
@_answering
def up(
    detach: Annotated[bool, typer.Option("--detach", help="Return once all is ready.")] = False,
    state: State = DEFAULT_STATE_DIRECTORY,
    port_offset: PortOffset = 0,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Start the whole topology on this machine (or heal it)."""
    options = stack.StackOptions(state, port_offset, settings, detach)
    report = stack.up(options, _tell)
    if as_json:
        write_json(report)
    else:
        out.print(f"[green]ready[/] in {report.seconds:.0f} s; state in {state}")
    if detach or not report.ok:
        return report.ok
    return stack.stay(options, _tell)


@app.command()
@_answering
def down(
    names: Annotated[list[str] | None, typer.Argument(help="Only these processes.")] = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    port_offset: PortOffset = 0,
    as_json: AsJson = False,
) -> bool:
    """Stop exactly what `up` started, or some of it; the state stays, and `up` heals."""
    only = frozenset(names) if names else None
    report = stack.down(stack.StackOptions(state, port_offset, only=only), _tell)
    if as_json:
        write_json(report)
    else:
        out.print(f"stopped {len(report.stopped)} processes")
    return True


@app.command()
@_answering
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
@_answering
def send(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files, folders, zip.")] = None,
    to: Annotated[str, typer.Option("--to", help="north, south, or AET@host:port.")] = "north",
    sample: Annotated[bool, typer.Option("--sample", help="Send a synthetic CT study.")] = False,
    slices: Annotated[int, typer.Option(help="Slices of the sample.", min=1, max=2000)] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 1,
    calling: Annotated[str, typer.Option(help="Our calling AE title.")] = "HILUM-SEND",
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Send files, folders and zip archives to a gateway."""
    if not paths and not sample:
        raise FatalError("nothing to send", "name files or folders, or use --sample")
    context = Context(state, 0, settings, as_json)
    request = SendRequest(tuple(paths or ()), to, calling, slices if sample else 0, seed)
    report = send_inputs(context, request)
    if as_json:
        write_json(report)
    else:
        render.show_sent(report)
    return report.ok


@app.command()
@_answering
def where(
    key: Annotated[str, typer.Argument(help="Study, Series, SOP UID or accession number.")],
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Every state of an image or a study, with its time."""
    with _engines(Context(state, 0, settings, as_json)) as engines:
        found = find_where(engines, key)
    if as_json:
        write_json(found)
    else:
        render.show_where(found)
    return found.ok


@app.command()
@_answering
def verify(
    rehash: Annotated[bool, typer.Option("--bytes", help="Read and re-hash every byte.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds for what is under way.", min=0)] = 120.0,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Compare what was acknowledged with both archives and both indexes."""
    with _engines(Context(state, 0, settings, as_json)) as engines:
        verdict = verify_custody(engines, VerifyOptions(wait, rehash), _tell)
    if as_json:
        write_json(verdict)
    else:
        render.show_verdict(verdict)
    return verdict.ok


@app.command()
@_answering
def demo(
    state: State = DEFAULT_STATE_DIRECTORY, port_offset: PortOffset = 0, as_json: AsJson = False
) -> bool:
    """Start the stack, send a study of 60 slices, and follow it into both archives."""
    report = demo_run.demo(Context(state, port_offset, None, as_json), _tell)
    if as_json:
        write_json(report)
    return report.ok


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@_answering
def test(context: typer.Context, as_json: AsJson = False) -> bool:
    """Run the linters and every test; further arguments go to pytest."""
    steps = selftest.run_tests(context.args, _tell)
    if as_json:
        write_json({"steps": steps})
    return all(step.exit_code == 0 for step in steps)


@dlq_app.command("list")
@_answering
def dlq_list(
    consumer: Annotated[str | None, typer.Option()] = None,
    topic: Annotated[str | None, typer.Option()] = None,
    reason: Annotated[str | None, typer.Option()] = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Every dead letter, with its reason."""
    chosen = LetterFilter(None, consumer, topic, reason)
    loaded = Context(state, 0, settings, as_json).settings()
    letters = [letter for letter in dead_letters(loaded.kafka) if chosen.admits(letter)]
    if as_json:
        write_json({"dead_letters": [letter.described() for letter in letters]})
    else:
        render.show_letters(letters)
    return True


@dlq_app.command("show")
@_answering
def dlq_show(
    letter_id: Annotated[str, typer.Argument(help="As `dlq list` prints it.")],
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """One dead letter with its headers and its original bytes (base64)."""
    loaded = Context(state, 0, settings, as_json).settings()
    letters = [x for x in dead_letters(loaded.kafka) if x.letter_id == letter_id]
    if not letters:
        raise FatalError(f"no dead letter {letter_id!r}", "run `hilum dlq list`")
    write_json(letters[0].described(with_value=True))
    return True


@dlq_app.command("redrive")
@_answering
def dlq_redrive(
    letter_id: Annotated[str | None, typer.Argument(help="One letter; else by filter.")] = None,
    consumer: Annotated[str | None, typer.Option()] = None,
    topic: Annotated[str | None, typer.Option()] = None,
    reason: Annotated[str | None, typer.Option()] = None,
    every: Annotated[bool, typer.Option("--all", help="All open letters.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run")] = False,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """Produce the originals into their topics again."""
    chosen = LetterFilter(letter_id, consumer, topic, reason)
    if chosen == LetterFilter() and not every:
        raise FatalError("no dead letter chosen", "name one, use a filter, or --all")
    with _engines(Context(state, 0, settings, as_json)) as engines:
        letters = [
            letter
            for letter in dead_letters(engines.settings.kafka)
            if chosen.admits(letter) and not letter.is_redriven
        ]
        done = letters if dry_run else list(redrive_letters(engines.publisher, letters))
    if as_json:
        write_json({"dry_run": dry_run, "redriven": [letter.letter_id for letter in done]})
    else:
        out.print(f"{'would redrive' if dry_run else 'redriven'}: {len(done)} dead letters")
    return True
