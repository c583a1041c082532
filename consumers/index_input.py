"""What rows cost while they are written, and which events break their contract.

Invariant: an event without a fault has columns that ClickHouse takes; a fault names a field and
never its value. Pure; it must not judge what a header says.
"""

from __future__ import annotations

from contracts.events import (
    AssociationReceipt,
    Event,
    InstanceReceived,
    PackArchived,
    PackReplicated,
)
from contracts.identity import ContentKey, is_sha256, is_uid

# What a row costs while it is composed or inserted, beside its header: a pack of 4,000 members
# must count, though it is one record.
ROW_BYTES = 2_048
# PS3.7 C: two bytes.
STATUS_MAX = 0xFFFF


def size_bytes(event: Event) -> int:
    """About what an event occupies while it is written: its header and tags, and its rows."""
    if isinstance(event, InstanceReceived):
        return 2 * len(event.header) + ROW_BYTES
    if isinstance(event, PackArchived | PackReplicated):
        return ROW_BYTES * (len(event.members) + 1)
    if isinstance(event, AssociationReceipt):
        return ROW_BYTES * (len(event.entries) + 1)
    raise AssertionError(f"not an input: {type(event).__name__}")


def fault_of(event: Event) -> str | None:
    """Which field breaks the contract (`contracts.identity`), or None."""
    if isinstance(event, InstanceReceived):
        return _fault_of_delivery(event.delivery_id, event.content) or _fault_of_numbers(
            size_bytes=event.size_bytes, scanner_version=event.scanner_version
        )
    if isinstance(event, PackArchived | PackReplicated):
        if not event.object_key:
            return "object_key is empty"
        faults = (
            _fault_of_delivery(member.delivery_id, member.content)
            or _fault_of_numbers(offset_bytes=member.offset_bytes, length_bytes=member.length_bytes)
            for member in event.members
        )
        return next((fault for fault in faults if fault), None)
    if isinstance(event, AssociationReceipt):
        return _fault_of_receipt(event)
    raise AssertionError(f"not an input: {type(event).__name__}")


def _fault_of_delivery(delivery_id: str, content: ContentKey) -> str | None:
    if not delivery_id:
        return "delivery_id is empty"
    if not is_sha256(content.content_sha256):
        return "content_sha256 is no sha256"
    for name in ("study_instance_uid", "series_instance_uid"):
        uid = getattr(content, name)
        if uid and not is_uid(uid):
            return f"{name} is neither a UID nor empty"
    return None


def _fault_of_numbers(**numbers: int) -> str | None:
    # Avro's long has a sign; the columns have none.
    return next((f"{name} is negative" for name, value in numbers.items() if value < 0), None)


def _fault_of_receipt(page: AssociationReceipt) -> str | None:
    statuses = [entry.status for entry in page.entries] + [t.status for t in page.totals]
    if not all(0 <= status <= STATUS_MAX for status in statuses):
        return "status is no DIMSE status"
    counts = {f"totals[{index}].count": total.count for index, total in enumerate(page.totals)}
    return _fault_of_numbers(page_index=page.page_index, **counts)
