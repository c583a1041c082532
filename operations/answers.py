"""How commands answer: tables and bars for people on stderr/stdout, one JSON document with --json.

Invariant: with --json stdout carries exactly one JSON document and nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Of a file or a pipe, which have none: what is wider than a terminal is folded to one letter there.
FILE_WIDTH = 160


def _console(*, stderr: bool) -> Console:
    """As wide as the terminal is, or as COLUMNS says; elsewhere wide enough for a table."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_WIDTH
    return console


out = _console(stderr=False)
progress_out = _console(stderr=True)


def write_json(document: object) -> None:
    """Prints one JSON document to stdout, times in ISO 8601 with Z."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_SORT_KEYS
    sys.stdout.write(orjson.dumps(_plain(document), option=options, default=str).decode() + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table for people; None is shown as a dash, text as it is, `Text` with its style."""
    drawn = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*("–" if value is None else _cell(value) for value in row))
    out.print(drawn)


def plain_text(text: str) -> str:
    """A name as one line that can be shown and written anywhere.

    Control characters (a name must not steer a terminal) and bytes that are no UTF-8 (Python
    carries them as lone surrogates, which JSON has not) are escaped.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def size_text(size_bytes: float) -> str:
    """A size as people read it: 1.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def age_text(at: datetime, now: datetime | None = None) -> str:
    """How long ago a time was: 12 s, 3 min, 2 h."""
    seconds = ((now or datetime.now(UTC)) - at).total_seconds()
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    if isinstance(value, datetime):
        return Text(value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3])
    # Never markup: an image's own words would be read as such.
    return Text(str(value))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value
