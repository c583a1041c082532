"""Where a record lies, as the forwarder remembers it: plain numbers, good for a journal.

Invariant: a location names one life of one segment, so it never finds another record's bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_gateway.spool.entry import Entry

# A remnant's segment number: its record is in objects/<delivery_id>.rec.
NO_SEGMENT = 0


@dataclass(frozen=True, slots=True, order=True)
class SpoolPosition:
    """A place between two records of the log; `SpoolPosition(0, 0)` is before the first."""

    segment_number: int
    offset_bytes: int


SPOOL_START = SpoolPosition(0, 0)


@dataclass(frozen=True, slots=True)
class RecordLocation:
    """One record: where it is now. `sequence` stays the same for ever and gives the order of
    acceptance; the rest changes when the record is copied forward.
    """

    segment_number: int
    generation: int
    offset_bytes: int
    sequence: int


@dataclass(frozen=True, slots=True)
class SpoolRecord:
    """A durable record as the forwarder sees it. `following` is the position behind it."""

    entry: Entry
    location: RecordLocation
    following: SpoolPosition
