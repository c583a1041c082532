"""What the progress ledger says of a delivery, as values; and times as it stores them.

Invariant: `entry_of` and `NewDelivery.values` are inverse to each other for the columns they share.
Must not touch the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import orjson

from edge_gateway.spool import RecordLocation
from infra.settings_forwarding import PRIORITY_USUAL

COLUMNS = "delivery_id, sequence, segment, location, facts, content_sha256, size_bytes, state"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class DeliveryState(StrEnum):
    """Where a delivery of this gateway is. `lost`: its bytes are not in the spool, unarchived."""

    SPOOLED = "spooled"
    PUBLISHED = "published"
    ARCHIVED = "archived"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    PURGED = "purged"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """What the ledger keeps of a delivery that was found in the spool.

    `facts` is the record's JSON for one that was copied forward, else None. `has_receipt`:
    its receipt is known to have been read. `priority`: 1 goes first, 9 last. `order`: its place in
    the order of acceptance, where the spool's own sequence does not tell it.
    """

    delivery_id: str
    association_id: str
    location: RecordLocation
    facts: bytes | None
    sop_class_uid: str
    sop_instance_uid: str
    content_sha256: str
    size_bytes: int
    received_at: datetime
    has_receipt: bool = False
    priority: int = PRIORITY_USUAL
    calling_ae_title: str = ""
    order: int | None = None

    def values(self) -> tuple[object, ...]:
        """In the order of the ledger's INSERT."""
        return (
            self.delivery_id,
            self.location.sequence if self.order is None else self.order,
            self.association_id,
            None if self.facts is not None else self.location.segment_number,
            location_text(self.location),
            self.facts,
            self.sop_class_uid,
            self.sop_instance_uid,
            self.content_sha256,
            self.size_bytes,
            microseconds(self.received_at),
            int(self.has_receipt),
            self.priority,
            self.calling_ae_title,
        )


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One delivery's row. `segment` is None and `facts` its record's JSON once copied forward."""

    delivery_id: str
    sequence: int
    segment: int | None
    location: RecordLocation
    facts: bytes | None
    content_sha256: str
    size_bytes: int
    state: DeliveryState


@dataclass(frozen=True, slots=True)
class SegmentRest:
    """Deliveries of a segment that are not purged, and when the newest of them was received."""

    deliveries: int
    size_bytes: int
    newest_received_at: datetime


def entry_of(row: Sequence[Any]) -> LedgerEntry:
    """The entry in a row of `COLUMNS`."""
    delivery_id, sequence, segment, location, facts, content_sha256, size_bytes, state = row
    return LedgerEntry(
        delivery_id,
        sequence,
        segment,
        RecordLocation(*orjson.loads(location)),
        facts,
        content_sha256,
        size_bytes,
        DeliveryState(state),
    )


def location_text(location: RecordLocation) -> str:
    """A location as the ledger stores it: JSON, because a generation needs all 64 bits."""
    return orjson.dumps(
        (location.segment_number, location.generation, location.offset_bytes, location.sequence)
    ).decode()


def microseconds(moment: datetime) -> int:
    """Whole microseconds since 1970 of an aware time."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds_utc: int) -> datetime:
    """The aware UTC time of `microseconds`."""
    return _EPOCH + microseconds_utc * _MICROSECOND
