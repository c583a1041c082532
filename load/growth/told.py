"""The events of synthetic studies, as a gateway and the archive would tell them.

Invariant: an event follows from its study and its place in the archive alone; nothing is published
and nothing is written here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts.events import (
    Area,
    AssociationReceipt,
    InstanceReceived,
    PackArchived,
    PackMember,
    ReceiptEntry,
    StatusTotal,
)
from contracts.identity import ContentKey
from load.growth.archive import Study, arrived_at, delivery_id
from load.growth.headers import full_header, short_header

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
BUCKET = "hilum-archive"
_PUBLISHED_AFTER = timedelta(milliseconds=200)
_ARCHIVED_AFTER = timedelta(seconds=2)
_TAR_HEADER_BYTES = 512

HeaderOf = Callable[[Study, int, ContentKey], str]


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of some studies: every instance, a pack and an association a study."""

    received: tuple[InstanceReceived, ...]
    archived: tuple[PackArchived, ...]
    receipts: tuple[AssociationReceipt, ...]


def told(studies: Iterable[Study], first_row: int, is_full: bool) -> Told:
    """The events of whole studies; `first_row` is the place of their first instance."""
    header_of: HeaderOf = full_header if is_full else short_header
    received: list[InstanceReceived] = []
    packs, receipts = [], []
    for study in studies:
        events = _received(study, first_row + len(received), header_of)
        received += events
        packs.append(_pack(study, events))
        receipts.append(_receipt(study, events))
    return Told(tuple(received), tuple(packs), tuple(receipts))


def _received(study: Study, first_row: int, header_of: HeaderOf) -> list[InstanceReceived]:
    return [
        _event(study, content, header_of(study, instance, content), arrived_at(first_row + place))
        for place, (instance, content) in enumerate(study.contents())
    ]


def _event(study: Study, content: ContentKey, header: str, at: datetime) -> InstanceReceived:
    return InstanceReceived(
        content=content,
        sop_class_uid=study.kind.sop_class_uid,
        transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN,
        delivery_id=delivery_id(content, at),
        site=study.site,
        gateway_id=f"gateway-{study.site}",
        association_id=f"association-{study.number:09d}",
        calling_ae_title=f"{study.kind.modality}1",
        called_ae_title=study.site.upper(),
        peer_address="127.0.0.1",
        peer_implementation_class_uid="2.25.4",
        peer_implementation_version_name="SYNTHETIC",
        received_at=at,
        size_bytes=study.kind.size_bytes,
        header=header,
        header_complete=True,
        header_reason=None,
        header_key_id=None,
        scanner_version=1,
        quarantine_reason=None,
        published_at=at + _PUBLISHED_AFTER,
        payload_partition=0,
        payload_offsets=(0,),
    )


def _pack(study: Study, events: Sequence[InstanceReceived]) -> PackArchived:
    sha256 = hashlib.sha256(study.study_instance_uid.encode()).hexdigest()
    length = study.kind.size_bytes + 1_024
    members = tuple(
        PackMember(
            event.content,
            event.delivery_id,
            event.gateway_id,
            _TAR_HEADER_BYTES + place * (length + _TAR_HEADER_BYTES),
            length,
        )
        for place, event in enumerate(events)
    )
    return PackArchived(
        site="primary",
        bucket=BUCKET,
        object_key=f"{Area.PACKS.value}/{sha256[:2]}/{sha256}.tar",
        area=Area.PACKS,
        archived_at=events[-1].received_at + _ARCHIVED_AFTER,
        object_sha256=sha256,
        object_size_bytes=len(events) * (length + _TAR_HEADER_BYTES),
        members=members,
    )


def _receipt(study: Study, events: Sequence[InstanceReceived]) -> AssociationReceipt:
    first = events[0]
    entries = tuple(
        ReceiptEntry(
            event.delivery_id,
            event.content.sop_instance_uid,
            event.content.content_sha256,
            0,
            event.received_at,
        )
        for event in events
    )
    return AssociationReceipt(
        first.site,
        first.gateway_id,
        first.association_id,
        first.calling_ae_title,
        first.called_ae_title,
        first.peer_address,
        first.received_at,
        0,
        entries,
        "released",
        (StatusTotal(0, len(entries)),),
    )
