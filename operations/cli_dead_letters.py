"""`hilum dlq`: what was set aside, records and objects in one list; show it, redrive records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contracts.failures import FatalError, HilumError
from infra.seams import Database
from operations import render
from operations.answers import out, write_json
from operations.command_line import AsJson, SettingsFile, State, answering, engines_of
from operations.context import DEFAULT_STATE_DIRECTORY, Context
from operations.dead_letters import LetterFilter, dead_letters
from operations.dead_letters import redrive as redrive_letters
from operations.quarantine import QuarantinedObject, new_file, quarantined_objects, write_object

dlq_app = typer.Typer(no_args_is_help=True, help="What was set aside: list, show, redrive.")


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
    """Every dead letter and every object in quarantine, with its reason."""
    chosen = LetterFilter(None, consumer, topic, reason)
    with engines_of(Context(state, 0, settings, as_json)) as engines:
        found = dead_letters(engines.settings.kafka)
        letters = [letter for letter in found if chosen.admits(letter)]
        objects, problem = _objects(engines.primary.database, chosen)
    if as_json:
        write_json({
            "dead_letters": [letter.described() for letter in letters],
            "quarantined": [one.described() for one in objects],
            "problem": problem,
        })  # fmt: skip
    else:
        render.show_set_aside(letters, objects)
        if problem:
            out.print(f"[red]objects in quarantine are not listed[/]: {escape(problem)}")
    return not problem


@dlq_app.command("show")
@answering
def dlq_show(
    letter_id: Annotated[str, typer.Argument(help="As `dlq list` prints it.")],
    to: Annotated[Path | None, typer.Option(help="Write the bytes into this new file.")] = None,
    state: State = DEFAULT_STATE_DIRECTORY,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> bool:
    """One dead letter with its original bytes (base64), or one object with where its bytes lie."""
    with engines_of(Context(state, 0, settings, as_json)) as engines:
        letters = [x for x in dead_letters(engines.settings.kafka) if x.letter_id == letter_id]
        if letters:
            if to is not None:
                with new_file(to) as file:
                    file.write(letters[0].value)
            write_json(letters[0].described(with_value=True))
            return True
        objects = quarantined_objects(engines.primary.database, letter_id)
        if not objects:
            raise FatalError(f"nothing set aside is called {letter_id!r}", "run `hilum dlq list`")
        if to is not None:
            write_object(engines.primary, objects[0], to)
        write_json(objects[0].described())
    return True


def _objects(database: Database, chosen: LetterFilter) -> tuple[list[QuarantinedObject], str]:
    """The chosen objects, and why they cannot be told: dead letters are told all the same."""
    if chosen.consumer or chosen.topic:
        return [], ""  # an object in quarantine is no record of a consumer
    try:
        found = quarantined_objects(database)
    except HilumError as cause:
        return [], str(cause)
    return [one for one in found if chosen.reason in (None, one.reason)], ""


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
