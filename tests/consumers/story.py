"""What happened to some deliveries, told by every event behind a gateway, with the bytes in place.

The same story serves every consumer: each is given the events of its own inputs, and what they
name (payload chunks, packs at the first site) is really there.
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from consumers.pack_groups import pack_groups
from consumers.part10 import part10_head
from consumers.spec import Record
from contracts.events import (
    Area,
    AssociationReceipt,
    InstanceReceived,
    PackArchived,
    PackReplicated,
    PayloadChunk,
    ReceiptEntry,
    StatusTotal,
)
from contracts.example_catalog import example_payload, examples_of
from contracts.identity import ContentKey, DeliveryIds, record_key
from contracts.packs import ARCHIVED_AT_METADATA, PackAssembly
from contracts.topics import RECEIVED
from infra.seams import ObjectStore

T = TypeVar("T")
AT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
GATEWAYS = (
    ("north", "01980000-0000-7000-8000-00000000000a"),
    ("south", "01980000-0000-7000-8000-00000000000b"),
)
_ids = DeliveryIds()
# Each story begins with a study and an association of its own, whatever was told before.
STORY_DELIVERIES_MAX = 200
_firsts = itertools.count(STORY_DELIVERIES_MAX, STORY_DELIVERIES_MAX)


@dataclass(frozen=True)
class Delivery:
    """One accepted C-STORE and its data set."""

    event: InstanceReceived
    data: bytes


def deliveries(count: int, a_study: int = 5) -> list[Delivery]:
    """New deliveries: `a_study` each from two gateways, some quarantined, some without a study."""
    assert count <= STORY_DELIVERIES_MAX
    first = next(_firsts)
    return [_delivery(first + index, index, a_study) for index in range(count)]


def example_deliveries() -> list[Delivery]:
    """The contract's examples with their own bytes."""
    return [
        Delivery(event, b"".join(chunk.bytes for chunk in example_payload(event.delivery_id)))
        for event in examples_of(InstanceReceived)
    ]


def chunks_of(delivery: Delivery) -> list[PayloadChunk]:
    """A data set in one chunk, or in two where it has a few bytes."""
    half = len(delivery.data) // 2
    parts = [delivery.data[:half], delivery.data[half:]] if half > 300 else [delivery.data]
    return [
        PayloadChunk(delivery.event.delivery_id, index, len(parts), part)
        for index, part in enumerate(parts)
    ]


def receipts(told: Sequence[Delivery]) -> list[AssociationReceipt]:
    """One association a gateway, a page of receipts each."""
    by_association: dict[str, list[InstanceReceived]] = {}
    for delivery in told:
        by_association.setdefault(delivery.event.association_id, []).append(delivery.event)
    return [_receipt(events) for events in by_association.values()]


def store_packs(
    told: Sequence[Delivery], store: ObjectStore, site: str, scratch: Path
) -> list[PackArchived]:
    """The packs of these deliveries, stored as the archive stores them."""
    data = {delivery.event.delivery_id: delivery.data for delivery in told}
    records = [Record(delivery.event, RECEIVED.name, 0, n) for n, delivery in enumerate(told)]
    stored = []
    for area, group in pack_groups(records):
        events = [record.event for record in group]
        stored.append(_store_pack(area, [(e, data[e.delivery_id]) for e in events], store, scratch))
    return [replace(event, site=site) for event in stored]


def replicated(packs: Iterable[PackArchived]) -> list[PackReplicated]:
    """What the second site says of packs."""
    return [
        PackReplicated(
            "dr",
            pack.bucket,
            pack.object_key,
            pack.area,
            pack.object_sha256,
            pack.object_size_bytes,
            pack.members,
            pack.archived_at + timedelta(seconds=5),
        )
        for pack in packs
    ]


def key_of(event: Any) -> bytes:
    """The Kafka key of an event that consumers read."""
    if isinstance(event, InstanceReceived):
        return record_key(event.content)
    if isinstance(event, PackArchived | PackReplicated):
        return record_key(event.members[0].content)
    return str(event.gateway_id).encode()


def _delivery(number: int, index: int, a_study: int) -> Delivery:
    data = _data_set(number)
    site, gateway_id = GATEWAYS[index % 2]
    study = "" if index % 11 == 10 else f"2.25.7.{number // a_study}"
    sop = f"2.25.7.{number // a_study}.1.{number}"
    header = '{"00080060":{"vr":"CS","Value":["CT"]},"00100020":{"vr":"LO","Value":["SYN%d"]}}'
    event = InstanceReceived(
        content=ContentKey(study, study and study + ".1", sop, hashlib.sha256(data).hexdigest()),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        delivery_id=_ids.mint(),
        site=site,
        gateway_id=gateway_id,
        association_id=f"01980000-0000-7000-8000-{number // 20:010d}{index % 2:02d}",
        calling_ae_title="CT1",
        called_ae_title=site.upper(),
        peer_address="127.0.0.1",
        peer_implementation_class_uid="2.25.4",
        peer_implementation_version_name="SYNTHETIC",
        received_at=AT + timedelta(seconds=number),
        size_bytes=len(data),
        header=header % number,
        header_complete=True,
        header_reason=None,
        header_key_id=None,
        scanner_version=1,
        quarantine_reason="uid_mismatch" if index % 13 == 12 else None,
        published_at=AT + timedelta(seconds=number + 1),
        payload_partition=None,
        payload_offsets=None,
    )
    return Delivery(event, data)


def _data_set(number: int) -> bytes:
    """A data set in Explicit VR Little Endian that no other number has."""
    patient_id = b"SYN%07d" % number
    pixels = hashlib.sha256(patient_id).digest() * (10 + number % 30)
    return (
        b"\x10\x00\x20\x00LO\x0a\x00"
        + patient_id
        + b"\xe0\x7f\x10\x00OB\x00\x00"
        + len(pixels).to_bytes(4, "little")
        + pixels
    )


def _receipt(events: Sequence[InstanceReceived]) -> AssociationReceipt:
    first = events[0]
    entries = tuple(
        ReceiptEntry(
            e.delivery_id, e.content.sop_instance_uid, e.content.content_sha256, 0, e.received_at
        )
        for e in events
    )
    return AssociationReceipt(
        first.site,
        first.gateway_id,
        first.association_id,
        first.calling_ae_title,
        first.called_ae_title,
        first.peer_address,
        AT,
        0,
        entries,
        "released",
        (StatusTotal(0, len(entries)),),
    )


def _store_pack(
    area: Area,
    members: Sequence[tuple[InstanceReceived, bytes]],
    store: ObjectStore,
    scratch: Path,
) -> PackArchived:
    file = io.BytesIO()
    assembly = PackAssembly(file)
    for event, data in members:
        assembly.add(event, part10_head(event), [data])
    pack = assembly.finish()
    archived_at = max(event.received_at for event, _ in members) + timedelta(seconds=2)
    path = scratch / "story-pack.tar"
    path.write_bytes(file.getvalue())
    metadata = {ARCHIVED_AT_METADATA: archived_at.isoformat()}
    stored = store.put_file(pack.key(area), path, pack.object_sha256, metadata)
    return PackArchived(
        "",
        stored.bucket,
        stored.key,
        area,
        archived_at,
        pack.object_sha256,
        pack.size_bytes,
        pack.members,
    )


def in_orders(inputs: Sequence[T]) -> Iterator[list[T]]:
    """The inputs forward, backward, and each of the inner ones first."""
    yield list(inputs)
    yield list(reversed(inputs))
    for index in range(1, len(inputs) - 1):
        yield [inputs[index], *inputs[:index], *inputs[index + 1 :]]
