"""Synthetic examples of every event: the fixtures of every test, and documentation by instance.

Invariant: no example holds anything of a real person; the InstanceReceived examples' bytes are the
PayloadChunk examples of the same delivery, and the PackArchived examples locate them.

    examples/<file stem of the schema>/<what it shows>.json

The JSON form: one object with the event's fields in the schema's order; times are ISO 8601 with
offset, bytes are base64, records nest as objects, null stands for None.
"""

from __future__ import annotations

import base64
import types
import typing
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from importlib.resources import files
from typing import Any, TypeVar, cast

import orjson

from contracts.events import Event, PayloadChunk
from contracts.schema_catalog import file_stem

E = TypeVar("E")


def examples_of(event_type: type[E]) -> list[E]:
    """Every example of an event, in the order of the file names."""
    return [example for _, example in named_examples_of(event_type)]


def named_examples_of(event_type: type[E]) -> list[tuple[str, E]]:
    """Every example of an event with what it shows (`ct-slice`)."""
    folder = files("contracts") / "examples" / file_stem(cast(type[Event], event_type))
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return [
        (entry.name.removesuffix(".json"), from_json(entry.read_bytes(), event_type))
        for entry in entries
        if entry.name.endswith(".json")
    ]


def example_payload(delivery_id: str) -> list[PayloadChunk]:
    """The chunks of an example delivery, in order; together they are its data set."""
    mine = [chunk for chunk in examples_of(PayloadChunk) if chunk.delivery_id == delivery_id]
    return sorted(mine, key=lambda chunk: chunk.chunk_index)


def from_json(data: bytes, event_type: type[E]) -> E:
    """An event out of its JSON form. Raises ValueError naming a field that is wrong."""
    return cast(E, _build(event_type, orjson.loads(data), event_type.__name__))


def to_json(event: Event) -> bytes:
    """The JSON form of an event, indented for people."""
    return orjson.dumps(_plain(event), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _build(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        inner = next(a for a in typing.get_args(kind) if a is not type(None))
        return _build(inner, value, where)
    if origin is tuple:
        item = typing.get_args(kind)[0]
        return tuple(_build(item, part, where) for part in _of(list, value, where))
    if is_dataclass(kind):
        return _build_record(kind, _of(dict, value, where), where)
    if kind is datetime:
        return datetime.fromisoformat(_of(str, value, where))
    if kind is bytes:
        return base64.b64decode(_of(str, value, where), validate=True)
    if issubclass(kind, StrEnum):
        return kind(value)
    return _of(kind, value, where)


def _build_record(kind: Any, value: dict[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    if list(value) != names:
        differing = ", ".join(sorted(set(names) ^ set(value))) or "their order"
        raise ValueError(f"{where}: not the fields of {kind.__name__}: {differing}")
    return kind(**{name: _build(hints[name], value[name], f"{where}.{name}") for name in names})


def _of(kind: type[E], value: object, where: str) -> E:
    if type(value) is not kind:
        raise ValueError(f"{where}: {kind.__name__} expected, not {type(value).__name__}")
    return value


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, StrEnum):
        return value.value
    return value
