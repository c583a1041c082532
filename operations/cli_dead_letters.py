"""`hilum dlq`: list, show and redrive dead letters."""

from __future__ import annotations

from typing import Annotated

import typer

from contracts.failures import FatalError
from operations import render
from operations.answers import out, write_json
from operations.command_line import AsJson, SettingsFile, State, answering, engines_of
from operations.context import DEFAULT_STATE_DIRECTORY, Context
from operations.dead_letters import LetterFilter, dead_letters
from operations.dead_letters import redrive as redrive_letters

dlq_app = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, redrive.")


@dlq_app.command("list")
@answering
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
@answering
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
@answering
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
    with engines_of(Context(state, 0, settings, as_json)) as engines:
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
