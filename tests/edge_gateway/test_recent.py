"""What the feed keeps for the pipeline: handed out once, never more than the limit."""

from __future__ import annotations

from datetime import UTC, datetime

from edge_gateway.recent import RECENT_MAX, RecentDeliveries
from edge_gateway.spool import SpooledDelivery


def delivery(delivery_id: str) -> SpooledDelivery:
    return SpooledDelivery(
        delivery_id=delivery_id,
        association_id="association-1",
        calling_ae_title="MODALITY",
        called_ae_title="NORTH",
        peer_address="127.0.0.1",
        peer_implementation_class_uid="1.2.3",
        peer_implementation_version_name="SYNTHETIC",
        received_at=datetime(2026, 5, 4, tzinfo=UTC),
        sop_class_uid="1.2.3",
        sop_instance_uid="1.2.3.4",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        size_bytes=1,
        content_sha256="0" * 64,
        quarantine_reason=None,
        external=False,
    )


def test_a_delivery_is_handed_out_once() -> None:
    recent = RecentDeliveries()
    recent.put(delivery("d0"))
    assert recent.take("d0") == delivery("d0")
    assert recent.take("d0") is None


def test_the_oldest_go_where_there_are_too_many() -> None:
    recent = RecentDeliveries()
    for number in range(RECENT_MAX + 2):
        recent.put(delivery(f"d{number}"))
    assert recent.take("d0") is None and recent.take("d1") is None
    assert all(recent.take(f"d{number}") for number in range(2, RECENT_MAX + 2))
