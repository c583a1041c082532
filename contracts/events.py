"""The events on Hilum's topics, as frozen dataclasses.

Invariant: an event is a past fact and is never changed; each class has the fields, in the order,
of its Avro schema in `schemas/` (a test holds them together). Times are aware UTC datetimes,
sha256 is lowercase hex, `size_bytes` is a data set's and `length_bytes` a Part-10 member's.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from contracts.identity import ContentKey


class Area(StrEnum):
    """Which part of the bucket a pack belongs to; its key's prefix."""

    PACKS = "packs"
    QUARANTINE = "quarantine"


class CustodyState(StrEnum):
    """What became of a delivery behind the gateway."""

    ARCHIVED = "archived"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    REPLICATED = "replicated"


class RequestKind(StrEnum):
    """What the centre may ask a gateway that only dials out."""

    REPUBLISH = "republish"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class PayloadChunk:
    """A piece of one delivery's data set, at most `topics.CHUNK_BYTES_MAX`."""

    delivery_id: str
    chunk_index: int
    chunk_count: int
    bytes: builtins.bytes


@dataclass(frozen=True, slots=True)
class InstanceReceived:
    """One accepted C-STORE: who sent what when, the header, and where the bytes lie.

    `header` is the DICOM JSON Model (PS3.18 Annex F) without bulk data. `payload_partition` and
    `payload_offsets` are None in a pack's manifest, where the bytes stand beside it.
    """

    content: ContentKey
    sop_class_uid: str
    transfer_syntax_uid: str
    delivery_id: str
    site: str
    gateway_id: str
    association_id: str
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    peer_implementation_class_uid: str
    peer_implementation_version_name: str
    received_at: datetime
    size_bytes: int
    header: str
    header_complete: bool
    header_reason: str | None
    header_key_id: str | None
    scanner_version: int
    quarantine_reason: str | None
    published_at: datetime | None
    payload_partition: int | None
    payload_offsets: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class PackMember:
    """Where one delivery's Part-10 bytes stand inside a pack."""

    content: ContentKey
    delivery_id: str
    gateway_id: str
    offset_bytes: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class PackArchived:
    """A pack whose bytes the object store holds and whose checksum was read back."""

    site: str
    bucket: str
    object_key: str
    area: Area
    archived_at: datetime
    object_sha256: str
    object_size_bytes: int
    members: tuple[PackMember, ...]


@dataclass(frozen=True, slots=True)
class PackReplicated:
    """A pack copied to `dr_site`, re-hashed there and indexed there."""

    dr_site: str
    bucket: str
    object_key: str
    area: Area
    object_sha256: str
    object_size_bytes: int
    members: tuple[PackMember, ...]
    verified_at: datetime


@dataclass(frozen=True, slots=True)
class CustodyMember:
    """One delivery of one gateway, with the content the archive has seen."""

    delivery_id: str
    content_sha256: str


@dataclass(frozen=True, slots=True)
class CustodyRecorded:
    """What the archive tells one gateway about deliveries it took."""

    gateway_id: str
    state: CustodyState
    at: datetime
    object_key: str
    members: tuple[CustodyMember, ...]


@dataclass(frozen=True, slots=True)
class ReceiptEntry:
    """One C-STORE response: what was answered, and for which bytes ('' where none were kept)."""

    delivery_id: str
    sop_instance_uid: str
    content_sha256: str
    status: int
    at: datetime


@dataclass(frozen=True, slots=True)
class StatusTotal:
    """How many C-STORE responses of an association carried `status`."""

    status: int
    count: int


@dataclass(frozen=True, slots=True)
class AssociationReceipt:
    """A page of an association's receipts; `ended` is set on its last page only.

    `ended` is one of released, aborted, lost, gateway_lost. `totals` is empty until then.
    """

    site: str
    gateway_id: str
    association_id: str
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    opened_at: datetime
    page_index: int
    entries: tuple[ReceiptEntry, ...]
    ended: str | None
    totals: tuple[StatusTotal, ...]


@dataclass(frozen=True, slots=True)
class StateTotal:
    """Deliveries and bytes of one gateway in one state (spooled, published, archived, …)."""

    state: str
    deliveries: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """A `gateway.request` that could not be obeyed, and why."""

    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class RequestOffset:
    """Up to which offset of a request partition a gateway has obeyed (the next one to read)."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class GatewayState:
    """What a gateway says of itself every 10 s; compacted to the latest.

    `oldest_receipt_unpublished_at` is when the first of the unpublished receipts was answered;
    None with a count above 0 means that it cannot be told yet.
    """

    site: str
    gateway_id: str
    gateway_name: str
    boot_id: str
    at: datetime
    version: str
    totals: tuple[StateTotal, ...]
    receipts_unpublished: int
    oldest_receipt_unpublished_at: datetime | None
    oldest_unarchived_at: datetime | None
    spool_bytes: int
    spool_bytes_max: int
    disk_free_bytes: int
    window_bytes: int
    is_publishing: bool
    reason: str
    requests_done: tuple[RequestOffset, ...]
    requests_failed: tuple[FailedRequest, ...]


@dataclass(frozen=True, slots=True)
class GatewayRequest:
    """How the centre asks an edge: republish these deliveries, or release them."""

    gateway_id: str
    kind: RequestKind
    delivery_ids: tuple[str, ...]
    reason: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class UsageInterval:
    """Absolute totals of one minute; the newest `computed_at` replaces the others."""

    site: str
    calling_ae_title: str
    modality: str
    minute: datetime
    deliveries: int
    size_bytes: int
    archived_deliveries: int
    associations: int
    computed_at: datetime


@dataclass(frozen=True, slots=True)
class SchemaPublished:
    """The schema that a newer version writes an event with, for readers that are older.

    `event` is the file stem of the schema, `schema` its JSON text. This event itself never
    changes: it is what a reader of any age has to understand.
    """

    schema_id: int
    event: str
    version: int
    schema: str


Event = (
    PayloadChunk
    | InstanceReceived
    | PackArchived
    | PackReplicated
    | CustodyRecorded
    | AssociationReceipt
    | GatewayState
    | GatewayRequest
    | UsageInterval
    | SchemaPublished
)

EVENT_TYPES: tuple[type[Event], ...] = (
    PayloadChunk,
    InstanceReceived,
    PackArchived,
    PackReplicated,
    CustodyRecorded,
    AssociationReceipt,
    GatewayState,
    GatewayRequest,
    UsageInterval,
    SchemaPublished,
)
