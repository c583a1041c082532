"""What of each calling AE title is read by the forward process and not archived: its word, a file.

Invariant: a file is whole or counts as none, and one of another gateway counts as none; then
nothing is known to be archived, which refuses too much and never too little. Must not judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from edge_gateway.spool import SPOOL_START, SpoolPosition

FILE_NAME = "unarchived.json"


@dataclass(frozen=True, slots=True)
class Unarchived:
    """Bytes by calling AE title, of all deliveries before `read_up_to`."""

    read_up_to: SpoolPosition
    size_bytes: Mapping[str, int]


NOTHING_READ = Unarchived(SPOOL_START, {})


def read_unarchived(directory: Path, gateway_id: str) -> Unarchived:
    """The last word for this gateway; `NOTHING_READ` where there is none. Raises OSError."""
    try:
        values = orjson.loads((directory / FILE_NAME).read_bytes())
        if values["gateway_id"] != gateway_id:
            return NOTHING_READ
        number, offset_bytes = map(int, values["read_up_to"])
        sizes = {str(title): int(size) for title, size in values["size_bytes"].items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return NOTHING_READ
    return Unarchived(SpoolPosition(number, offset_bytes), sizes)


def write_unarchived(directory: Path, gateway_id: str, unarchived: Unarchived) -> None:
    """Replaces the last word. Raises OSError.

    Not flushed: an older one counts more as unread, and the next one is a moment away.
    """
    position = unarchived.read_up_to
    values = {
        "gateway_id": gateway_id,
        "read_up_to": [position.segment_number, position.offset_bytes],
        "size_bytes": dict(unarchived.size_bytes),
    }
    fresh = directory / f"{FILE_NAME}.new"
    fresh.write_bytes(orjson.dumps(values))
    fresh.replace(directory / FILE_NAME)
