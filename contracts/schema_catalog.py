"""Every schema version, its id, and the class it describes; those of newer writers, once told.

Invariant: an id follows from the schema's own text, so no two processes ever need to agree on one,
and no one can be told a schema under another's id. What is learned is only ever read by.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import fastavro
import orjson

from contracts.events import EVENT_TYPES, Event, SchemaPublished

_FILE = re.compile(r"(?P<name>[a-z_]+)\.(?P<version>[0-9]+)\.avsc")


# Far above what ours have, and few enough to be kept for good.
LEARNED_BYTES_MAX, LEARNED_SCHEMAS_MAX = 64 * 1024, 256


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """One schema file. `parsed` is fastavro's parsed form, made once."""

    event_type: type[Event]
    version: int
    schema_id: int
    text: str
    parsed: Any


def schema_id(schema: object) -> int:
    """The id of a schema: 31 bits of the hash of its JSON without `doc`, keys sorted.

    Parsing Canonical Form would drop logicalType, and a plain long would share an id with
    timestamp-micros; so the form is our own.
    """
    form = orjson.dumps(_without_doc(schema), option=orjson.OPT_SORT_KEYS)
    return int.from_bytes(hashlib.sha256(form).digest()[:4], "big") >> 1


@cache
def versions_by_id() -> dict[int, SchemaVersion]:
    """Every version of every event by schema id. A collision would be an error at import."""
    found: dict[int, SchemaVersion] = {}
    for version in _load_all():
        if version.schema_id in found:
            raise AssertionError(f"two schemas share the id {version.schema_id}")
        found[version.schema_id] = version
    return found


# By schema id. Any thread may add; an entry never changes.
_LEARNED: dict[int, SchemaVersion] = {}


def writer_of(schema_id: int) -> SchemaVersion | None:
    """The version that wrote records of this id: ours, or one that was learned."""
    return versions_by_id().get(schema_id) or _LEARNED.get(schema_id)


def learn(told: SchemaPublished) -> bool:
    """Takes in a newer writer's schema; False for what is known, of an event that we do not
    have, or no schema of that id.
    """
    event_type = _types_by_stem().get(told.event)
    if event_type is None or writer_of(told.schema_id) or len(_LEARNED) >= LEARNED_SCHEMAS_MAX:
        return False
    version = _checked(told, event_type)
    if version is None:
        return False
    _LEARNED[told.schema_id] = version
    return True


def published(version: SchemaVersion) -> SchemaPublished:
    """The event that tells others of a version."""
    stem = file_stem(version.event_type)
    return SchemaPublished(version.schema_id, stem, version.version, version.text)


def newest(event_type: type[object]) -> SchemaVersion:
    """The version that writes `event_type`."""
    return _newest_by_type()[event_type]


def versions_of(event_type: type[Event]) -> tuple[SchemaVersion, ...]:
    """All versions of one event, oldest first."""
    mine = [v for v in versions_by_id().values() if v.event_type is event_type]
    return tuple(sorted(mine, key=lambda version: version.version))


@cache
def _newest_by_type() -> dict[type[object], SchemaVersion]:
    return {event_type: versions_of(event_type)[-1] for event_type in EVENT_TYPES}


def file_stem(event_type: type[Event]) -> str:
    """`InstanceReceived` is described by `instance_received.<version>.avsc`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event_type.__name__).lower()


@cache
def _types_by_stem() -> dict[str, type[Event]]:
    return {file_stem(event_type): event_type for event_type in EVENT_TYPES}


def _checked(told: SchemaPublished, event_type: type[Event]) -> SchemaVersion | None:
    if len(told.schema) > LEARNED_BYTES_MAX:
        return None
    try:
        schema = orjson.loads(told.schema)
        if schema_id(schema) != told.schema_id:
            return None
        parsed = fastavro.parse_schema(schema, named_schemas={})
    except (ValueError, TypeError, KeyError, RecursionError, fastavro.schema.SchemaParseException):
        return None
    return SchemaVersion(event_type, told.version, told.schema_id, told.schema, parsed)


def _load_all() -> list[SchemaVersion]:
    by_stem = _types_by_stem()
    loaded = []
    for entry in sorted(files("contracts.schemas").iterdir(), key=lambda path: path.name):
        match = _FILE.fullmatch(entry.name)
        if match is None:
            continue
        text = entry.read_text(encoding="utf-8")
        schema = orjson.loads(text)
        loaded.append(
            SchemaVersion(
                event_type=by_stem[match["name"]],
                version=int(match["version"]),
                schema_id=schema_id(schema),
                text=text,
                parsed=fastavro.parse_schema(schema, named_schemas={}),
            )
        )
    return loaded


def _without_doc(node: object) -> object:
    if isinstance(node, dict):
        return {key: _without_doc(value) for key, value in node.items() if key != "doc"}
    if isinstance(node, list):
        return [_without_doc(value) for value in node]
    return node
