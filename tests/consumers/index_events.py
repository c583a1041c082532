"""Synthetic events for the index's tests, told apart by small numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.events import (
    Area,
    AssociationReceipt,
    InstanceReceived,
    PackArchived,
    PackMember,
    PackReplicated,
    ReceiptEntry,
    StatusTotal,
)
from contracts.identity import ContentKey

NOON = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
ROOT = "1.2.826.0.1.3680043.10.1500"


def content(instance: int = 1, version: int = 0, study: int = 1, series: int = 1) -> ContentKey:
    """The `version`-th bytes of one SOP Instance."""
    sha256 = hashlib.sha256(f"{study}.{series}.{instance}.{version}".encode()).hexdigest()
    uid = f"{ROOT}.{study}"
    return ContentKey(uid, f"{uid}.{series}", f"{uid}.{series}.{instance}", sha256)


def header(**elements: Any) -> str:
    """DICOM JSON of a CT slice; `x00100020=["P1"]` sets an element's values, None removes it."""
    values: dict[str, Any] = {
        "00080060": ["CT"],
        "00080020": ["20260305"],
        "00080050": ["A1"],
        "00100010": [{"Alphabetic": "DOE^JANE", "Ideographic": "X"}],
        "00100020": ["P1"],
        "00200011": [3],
    }
    values |= {name[1:].upper(): value for name, value in elements.items() if name != "pixels"}
    model: dict[str, Any] = {
        tag: {"vr": "PN" if tag == "00100010" else "LO", "Value": value}
        for tag, value in sorted(values.items())
        if value is not None
    }
    pixels = elements.get("pixels", 524_288)
    if pixels is not None:
        model["7FE00010"] = {"vr": "OW", "BulkDataURI": f"sha256:?length={pixels}"}
    return json.dumps(model)


def received(key: ContentKey, delivery: int = 1, **changes: Any) -> InstanceReceived:
    """The delivery `delivery` of a content; deliveries are a second apart."""
    fields: dict[str, Any] = {
        "content": key,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "delivery_id": delivery_id(delivery),
        "site": "north",
        "gateway_id": "gateway-1",
        "association_id": "association-1",
        "calling_ae_title": "CT1",
        "called_ae_title": "NORTH",
        "peer_address": "127.0.0.1",
        "peer_implementation_class_uid": "1.2.3",
        "peer_implementation_version_name": "PEER",
        "received_at": NOON + timedelta(seconds=delivery),
        "size_bytes": 525_000,
        "header": header(),
        "header_complete": True,
        "header_reason": None,
        "header_key_id": None,
        "scanner_version": 1,
        "quarantine_reason": None,
        "published_at": NOON + timedelta(seconds=delivery, milliseconds=200),
        "payload_partition": 0,
        "payload_offsets": (delivery,),
    }
    return InstanceReceived(**(fields | changes))


def archived(
    members: Sequence[tuple[ContentKey, int]], pack: str = "a", area: Area = Area.PACKS
) -> PackArchived:
    """A pack that holds these contents' deliveries; `pack` orders its key."""
    return PackArchived(
        site="primary",
        bucket="hilum-archive",
        object_key=f"{area.value}/{pack * 2}/{pack * 64}.tar",
        area=area,
        archived_at=NOON + timedelta(minutes=1, seconds=ord(pack[0])),
        object_sha256=pack * 64,
        object_size_bytes=1_000_000,
        members=_members(members),
    )


def replicated(members: Sequence[tuple[ContentKey, int]], pack: str = "a") -> PackReplicated:
    """The same pack, verified at the second site."""
    return PackReplicated(
        dr_site="dr",
        bucket="hilum-archive",
        object_key=f"packs/{pack * 2}/{pack * 64}.tar",
        area=Area.PACKS,
        object_sha256=pack * 64,
        object_size_bytes=1_000_000,
        members=_members(members),
        verified_at=NOON + timedelta(minutes=2),
    )


def receipt(
    entries: Sequence[tuple[int, ContentKey, int]], page: int = 0, ended: str | None = None
) -> AssociationReceipt:
    """A page of (delivery, content, status); delivery 0 stands for one that was not kept."""
    return AssociationReceipt(
        site="north",
        gateway_id="gateway-1",
        association_id="association-1",
        calling_ae_title="CT1",
        called_ae_title="NORTH",
        peer_address="127.0.0.1",
        opened_at=NOON,
        page_index=page,
        entries=tuple(
            ReceiptEntry(
                delivery_id=delivery_id(delivery) if delivery else "",
                sop_instance_uid=key.sop_instance_uid,
                content_sha256=key.content_sha256 if delivery else "",
                status=status,
                at=NOON + timedelta(seconds=delivery, milliseconds=5),
            )
            for delivery, key, status in entries
        ),
        ended=ended,
        totals=(StatusTotal(0, len(entries)),) if ended else (),
    )


def delivery_id(number: int) -> str:
    """A UUIDv7 by form, in the order of the numbers."""
    return f"0195{number:04x}-0000-7000-8000-000000000000"


def _members(members: Sequence[tuple[ContentKey, int]]) -> tuple[PackMember, ...]:
    return tuple(
        PackMember(key, delivery_id(delivery), "gateway-1", 512 + index * 600_000, 526_000)
        for index, (key, delivery) in enumerate(members)
    )
