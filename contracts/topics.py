"""The topic table: what is on each topic, keyed how, kept how long.

Invariant: provisioning, consumers, producers and the documentation read this table and no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from contracts.events import (
    AssociationReceipt,
    CustodyRecorded,
    Event,
    GatewayRequest,
    GatewayState,
    InstanceReceived,
    PackArchived,
    PackReplicated,
    PayloadChunk,
    SchemaPublished,
    UsageInterval,
)

# A chunk with its Avro frame and headers stays below a stock broker's message.max.bytes (1 MiB).
CHUNK_BYTES_MAX = 960 * 1024
# Room for the largest event plain on the wire; the topic's own limit is set to it.
EVENT_REQUEST_BYTES_MAX = 32 * 1024 * 1024

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FOREVER = -1

KeyKind = Literal["study", "gateway_id", "site", "schema_id"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `retention_ms` and `retention_bytes` are per partition, FOREVER for no limit."""

    name: str
    event_type: type[Event]
    key: KeyKind
    partitions: int
    retention_ms: int
    retention_bytes: int = FOREVER
    is_compacted: bool = False
    compression: Literal["producer", "zstd", "uncompressed"] = "zstd"
    message_bytes_max: int = 1_048_588  # a stock broker's default

    @property
    def dlq_name(self) -> str:
        """Where records of this topic go that no consumer of it can ever write."""
        return f"{self.name}.dlq"


PAYLOAD = Topic(
    "imaging.payload.v1",
    PayloadChunk,
    "study",
    24,
    retention_ms=24 * HOUR_MS,
    retention_bytes=8 * 1024**3,
    compression="producer",  # pixels are compressed already or cost more CPU than they save
)
RECEIVED = Topic(
    "imaging.instance.received.v1", InstanceReceived, "study", 24, retention_ms=FOREVER
)
PACK_ARCHIVED = Topic("imaging.pack.archived.v1", PackArchived, "study", 24, retention_ms=FOREVER)
PACK_REPLICATED = Topic(
    "imaging.pack.replicated.v1", PackReplicated, "study", 24, retention_ms=FOREVER
)
CUSTODY = Topic("imaging.custody.v1", CustodyRecorded, "gateway_id", 12, retention_ms=30 * DAY_MS)
RECEIPT = Topic(
    "imaging.association.receipt.v1", AssociationReceipt, "gateway_id", 12, retention_ms=FOREVER
)
GATEWAY_STATE = Topic(
    "imaging.gateway.state.v1",
    GatewayState,
    "gateway_id",
    12,
    retention_ms=FOREVER,
    is_compacted=True,
)
GATEWAY_REQUEST = Topic(
    "imaging.gateway.request.v1", GatewayRequest, "gateway_id", 12, retention_ms=7 * DAY_MS
)
USAGE = Topic("imaging.usage.v1", UsageInterval, "site", 6, retention_ms=FOREVER)
# Written only by versions that are newer than the first of an event's schema.
SCHEMA = Topic(
    "imaging.schema.v1",
    SchemaPublished,
    "schema_id",
    1,
    retention_ms=FOREVER,
    is_compacted=True,
)

TOPICS: tuple[Topic, ...] = (
    PAYLOAD,
    RECEIVED,
    PACK_ARCHIVED,
    PACK_REPLICATED,
    CUSTODY,
    RECEIPT,
    GATEWAY_STATE,
    GATEWAY_REQUEST,
    USAGE,
    SCHEMA,
)
BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
BY_EVENT: dict[type[Event], Topic] = {topic.event_type: topic for topic in TOPICS}

DLQ_PARTITIONS = 1
DLQ_RETENTION_MS = 30 * DAY_MS
# What a dead letter may add to the record it repeats: `<topic>.dlq` takes that much more.
DLQ_HEADERS_BYTES_MAX = 16 * 1024
