"""Schema ids never change, and every change to a schema stays readable both ways."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import avro.schema
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from contracts.events import EVENT_TYPES, Event
from contracts.schema_catalog import file_stem, newest, schema_id, versions_by_id, versions_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "contracts/schemas"

# An id is in every record ever written. A new version is a new line; no line is ever altered.
PINNED_IDS = {
    ("association_receipt", 1): 1880232159,
    ("custody_recorded", 1): 1828040768,
    ("gateway_request", 1): 994191515,
    ("gateway_state", 1): 867870511,
    ("instance_received", 1): 750112108,
    ("pack_archived", 1): 1516155514,
    ("pack_replicated", 1): 2001968351,
    ("payload_chunk", 1): 226454878,
    ("schema_published", 1): 223862918,
    ("usage_interval", 1): 328285989,
}


def test_schema_ids_are_the_pinned_ones() -> None:
    found = {
        (file_stem(version.event_type), version.version): version.schema_id
        for version in versions_by_id().values()
    }
    assert found == PINNED_IDS
    assert len(set(found.values())) == len(found)
    assert all(0 <= number < 2**31 for number in found.values()), "a signed int in the wire format"


def test_an_id_follows_from_meaning_and_not_from_form() -> None:
    plain = {"type": "record", "name": "A", "fields": [{"name": "at", "type": "long"}]}
    documented = {"doc": "x", **plain, "fields": [{"type": "long", "doc": "y", "name": "at"}]}
    timed = {
        "type": "record",
        "name": "A",
        "fields": [{"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}],
    }
    assert schema_id(plain) == schema_id(documented)
    assert schema_id(plain) != schema_id(timed)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_versions_are_numbered_from_one_without_gaps(event_type: type[Event]) -> None:
    numbers = [version.version for version in versions_of(event_type)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert newest(event_type).version == numbers[-1]


def incompatibilities(reader: dict[str, Any], writer: dict[str, Any]) -> list[str]:
    """Why data of `writer` cannot be read by `reader`; empty where it can."""
    result = ReaderWriterCompatibilityChecker().get_compatibility(
        avro.schema.parse(json.dumps(reader)), avro.schema.parse(json.dumps(writer))
    )
    problems = [] if result.compatibility is SchemaCompatibilityType.compatible else ["structure"]
    # The checker looks at the bytes alone: to it a time and a plain number are the same long.
    there, here = _logical_types(writer), _logical_types(reader)
    problems += [f"meaning of {at}" for at in there.keys() & here.keys() if there[at] != here[at]]
    return problems


def _logical_types(schema: Any, at: str = "") -> dict[str, str]:
    if isinstance(schema, list):
        return {k: v for branch in schema for k, v in _logical_types(branch, at).items()}
    if not isinstance(schema, dict):
        return {at: ""} if schema != "null" else {}
    if schema["type"] == "record":
        found: dict[str, str] = {}
        for field in schema["fields"]:
            found |= _logical_types(field["type"], f"{at}.{field['name']}")
        return found
    if schema["type"] == "array":
        return _logical_types(schema["items"], f"{at}[]")
    if isinstance(schema["type"], str):
        return {at: schema.get("logicalType", "")}
    return _logical_types(schema["type"], at)


# Drafts that were in git before anything ran on them. Nothing may be added here any more.
NEVER_PUBLISHED = frozenset({1891495601})  # payload_chunk with `data` for `bytes`


def history() -> dict[str, list[dict[str, Any]]]:
    """Every text each schema file's event ever had in git, oldest first, then the files now."""
    texts: dict[str, list[str]] = defaultdict(list)
    log = _git("log", "--reverse", "--format=%H", "--", FOLDER)
    for commit in log.split():
        for line in _git("ls-tree", commit, f"{FOLDER}/").splitlines():
            _, _, blob, path = line.split(maxsplit=3)
            if path.endswith(".avsc"):
                texts[_event_of(path)].append(_git("cat-file", "blob", blob))
    for file in sorted((ROOT / FOLDER).glob("*.avsc"), key=_number):
        texts[_event_of(file.name)].append(file.read_text(encoding="utf-8"))
    versions = {
        event: [json.loads(text) for text in dict.fromkeys(found)] for event, found in texts.items()
    }
    return {
        event: [schema for schema in found if schema_id(schema) not in NEVER_PUBLISHED]
        for event, found in versions.items()
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no git history here: {done.stderr.strip()}")
    return done.stdout


def _event_of(path: str) -> str:
    return Path(path).name.split(".")[0]


def _number(path: Path) -> int:
    return int(path.name.split(".")[1])


def test_every_version_ever_in_git_can_be_read_and_reads_the_newest() -> None:
    texts = history()
    assert set(texts) >= {file_stem(event_type) for event_type in EVENT_TYPES}
    for event, versions in texts.items():
        last = versions[-1]
        for number, older in enumerate(versions[:-1]):
            assert not incompatibilities(last, older), f"{event}: newest cannot read {number}"
        if len(versions) > 1:
            assert not incompatibilities(versions[-2], last), f"{event}: last cannot read newest"


def _altered(change: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A schema of ours before and after a change that must be found."""
    old = json.loads(versions_of(EVENT_TYPES[1])[0].text)
    new = json.loads(json.dumps(old))
    fields = new["fields"]
    match change:
        case "field added without a default":
            fields.append({"name": "ward", "type": "string"})
        case "field renamed":
            fields[3]["name"] = "delivery"
        case "type changed":
            next(f for f in fields if f["name"] == "size_bytes")["type"] = "string"
        case "null taken away":
            next(f for f in fields if f["name"] == "header_reason")["type"] = "string"
        case "time became a number":
            next(f for f in fields if f["name"] == "received_at")["type"] = "long"
        case "record renamed":
            new["name"] = "Received"
    return old, new


@pytest.mark.parametrize(
    "change",
    [
        "field added without a default",
        "field renamed",
        "type changed",
        "null taken away",
        "time became a number",
        "record renamed",
    ],
)
def test_the_check_finds_a_planted_incompatible_change(change: str) -> None:
    old, new = _altered(change)
    assert incompatibilities(new, old) or incompatibilities(old, new)
    assert not incompatibilities(old, old)


def test_the_check_lets_a_field_with_a_default_pass() -> None:
    old = json.loads(versions_of(EVENT_TYPES[1])[0].text)
    new = json.loads(json.dumps(old))
    new["fields"].append({"name": "ward", "type": ["null", "string"], "default": None})
    assert not incompatibilities(new, old) and not incompatibilities(old, new)
