"""Bytes by calling AE title of what stands in the log behind a place, read once.

Invariant: each durable delivery behind the place is in exactly one span; one whose record has
rotted is passed over, as the forwarder passes over it. Must not read a data set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_gateway.spool.entry import SpooledDelivery
from edge_gateway.spool.errors import SpoolCorrupt
from edge_gateway.spool.location import SpoolPosition
from edge_gateway.spool.reader import SpoolReader

# As many as the forwarder reads at once, so that it passes a whole span at a time.
RECORDS_PER_SPAN = 500


@dataclass(frozen=True, slots=True)
class UnreadSpan:
    """Bytes by AE title of records that all stand before `end`."""

    end: SpoolPosition
    sizes: Counter[str]


def unread_spans(directory: Path, after: SpoolPosition) -> Iterator[UnreadSpan]:
    """In the order of the log. Raises OSError."""
    reader = SpoolReader(directory)
    reader.seek(after)
    try:
        while True:
            try:
                records = reader.poll(RECORDS_PER_SPAN)
            except SpoolCorrupt:
                reader.skip_damaged()
                continue
            if not records:
                return
            sizes: Counter[str] = Counter()
            for record in records:
                if isinstance(record.entry, SpooledDelivery):
                    sizes[record.entry.calling_ae_title] += record.entry.size_bytes
            yield UnreadSpan(records[-1].following, sizes)
    finally:
        reader.close()
