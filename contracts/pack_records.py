"""What a bucket keeps of a pack that was collected: its last event, under a key of its own.

Invariant: a record follows from the pack's event alone, so whoever writes it writes the same
bytes; with the records a bucket tells where each delivery ever was, without the bytes.
"""

from __future__ import annotations

import hashlib
import io
from typing import Any, cast

import fastavro

from contracts.codec import from_plain, to_plain
from contracts.events import Area, PackArchived
from contracts.identity import is_sha256
from contracts.pack_reading import PackFormatError
from contracts.packs import object_key
from contracts.schema_catalog import newest

COLLECTED_PREFIX = "collected/"
RECORD_SUFFIX = ".avro"
_SYNC_MARKER_BYTES = 16


def collected_key(pack_key: str) -> str:
    """Where a bucket keeps the record that a pack was collected. Raises ValueError: no pack's."""
    area, _, name = pack_key.partition("/")
    sha256 = name.rpartition("/")[2].removesuffix(".tar")
    if area not in set(Area) or not is_sha256(sha256) or object_key(Area(area), sha256) != pack_key:
        raise ValueError(f"{pack_key} is no key of a pack")
    return f"{COLLECTED_PREFIX}{pack_key.removesuffix('.tar')}{RECORD_SUFFIX}"


def record_bytes(event: PackArchived) -> bytes:
    """The event as an Avro object container."""
    buffer = io.BytesIO()
    fastavro.writer(
        buffer,
        newest(PackArchived).parsed,
        [to_plain(event)],
        codec="zstandard",
        sync_marker=hashlib.sha256(event.object_key.encode()).digest()[:_SYNC_MARKER_BYTES],
    )
    return buffer.getvalue()


def parse_record(data: bytes, key: str) -> PackArchived:
    """The event in the record that lies under `key`. Raises PackFormatError."""
    try:
        plain = list(fastavro.reader(io.BytesIO(data), newest(PackArchived).parsed))
        (event,) = (from_plain(cast(dict[str, Any], one), PackArchived) for one in plain)
        is_own = collected_key(event.object_key) == key
    except (ValueError, TypeError, KeyError, IndexError, EOFError, StopIteration) as cause:
        raise PackFormatError(f"the record does not decode: {type(cause).__name__}") from cause
    if not is_own:
        raise PackFormatError("the record is another pack's")
    return event
