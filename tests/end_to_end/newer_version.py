"""A checkout of the next version of Hilum, for tests: events with one more field, all else equal.

Invariant: what it writes is of schema version 2 and tells something in the new field; only the
copy is changed. Must not know what a test does with it.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from contracts.events import (
    CustodyRecorded,
    Event,
    GatewayState,
    InstanceReceived,
    PackArchived,
    PackReplicated,
)
from contracts.schema_catalog import file_stem

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("contracts", "infra", "edge_gateway", "consumers")
# A chunk is framed by hand (contracts/codec.py), so its next version is more than a field.
CHANGED: tuple[type[Event], ...] = (
    InstanceReceived,
    PackArchived,
    PackReplicated,
    CustodyRecorded,
    GatewayState,
)
NEW_FIELD = "told_later"


def newer_checkout(directory: Path) -> Path:
    """The root of a copy whose CHANGED events have version 2, with NEW_FIELD filled."""
    root = directory / "newer"
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for event_type in CHANGED:
        _add_field(root / "contracts", event_type)
    return root


def _add_field(contracts: Path, event_type: type[Event]) -> None:
    stem, name = file_stem(event_type), event_type.__name__
    schema = json.loads((contracts / "schemas" / f"{stem}.1.avsc").read_text())
    schema["fields"].append({"name": NEW_FIELD, "type": ["null", "string"], "default": None})
    (contracts / "schemas" / f"{stem}.2.avsc").write_text(json.dumps(schema))
    events = contracts / "events.py"
    declared = re.compile(rf"(\nclass {name}:.*?)(\n\n\n)", re.DOTALL)
    field = f'\n    {NEW_FIELD}: str | None = "by the newer version"'
    text, count = declared.subn(rf"\1{field}\2", events.read_text(), count=1)
    assert count == 1, f"{name} is not where it was"
    events.write_text(text)
