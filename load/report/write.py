"""A report on disk: `report.json`, which reads back, and `report.html`, which needs nothing else.

Invariant: both are written beside their place and renamed, so there is never half a report. It
must not change what was measured.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from contracts.failures import FatalError, RetryableError
from load.report.model import FORMAT_VERSION, Report

JSON_NAME = "report.json"
HTML_NAME = "report.html"

_REPORT = TypeAdapter(Report)


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a report lies."""

    json: Path
    html: Path


def write_report(report: Report, directory: Path) -> Paths:
    """Both files of `report` are in `directory`, whole. Raises RetryableError (no space)."""
    # plotly and jinja2 cost half a second: only who writes a page pays.
    from load.report.page import page

    paths = Paths(directory / JSON_NAME, directory / HTML_NAME)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _replace(paths.json, to_json(report))
        _replace(paths.html, page(report).encode())
    except OSError as cause:
        raise RetryableError(f"writing the report to {directory}: {cause}") from cause
    return paths


def to_json(report: Report) -> bytes:
    """The report as one JSON document, times in ISO 8601 with Z."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
    return orjson.dumps(report, option=options, default=_plain) + b"\n"


def read_report(path: Path) -> Report:
    """The report in a file that `write_report` wrote, or in such a directory.

    Raises FatalError when it is none, or was written by a newer Hilum.
    """
    if path.is_dir():
        path = path / JSON_NAME
    try:
        document = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as cause:
        raise FatalError(f"reading the report {path}: {cause}", "name a report.json") from cause
    version = document.get("format_version") if isinstance(document, dict) else None
    if not isinstance(version, int):
        raise FatalError(f"reading the report {path}: it is no report", "name a report.json")
    if version > FORMAT_VERSION:
        raise FatalError(
            f"reading the report {path}: format {version}, this Hilum knows {FORMAT_VERSION}",
            "read it with the Hilum that wrote it, or a newer one",
        )
    try:
        return _REPORT.validate_python(_with_gaps(document))
    except ValidationError as cause:
        first = cause.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FatalError(
            f"reading the report {path}: {where}: {first['msg']}", "measure anew"
        ) from cause


def _plain(value: Any) -> Any:
    """What orjson does not know: any other mapping (a read-only one), any other sequence."""
    if hasattr(value, "keys"):
        return {key: value[key] for key in value}
    raise TypeError(f"a report holds {type(value).__name__}")


def _with_gaps(document: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: orjson writes null, which samples and error bars read as NaN again."""
    for figure in _parts(document, "figures"):
        _fill(figure, "ours", "theirs")
    for section in _parts(document, "sections"):
        for plot in _parts(section, "plots"):
            for series in _parts(plot, "series"):
                _fill(series, "low", "high")
    return document


def _parts(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = document.get(name)
    return [part for part in found if isinstance(part, dict)] if isinstance(found, list) else []


def _fill(part: dict[str, Any], *names: str) -> None:
    for name in names:
        if isinstance(part.get(name), list):
            part[name] = [float("nan") if value is None else value for value in part[name]]


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as written:
            written.write(content)
            written.flush()
            os.fsync(written.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
