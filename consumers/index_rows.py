"""Turns events into the columns of the index tables; one function for each table and event.

Invariant: a row follows from its event alone (and `now`, where a column says when it was
written), so the same event always gives the same row. Pure; it must not reach ClickHouse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from consumers.index_header import Description
from contracts.events import (
    Area,
    AssociationReceipt,
    InstanceReceived,
    PackArchived,
    PackMember,
    PackReplicated,
    ReceiptEntry,
)
from contracts.identity import ContentKey

Columns = Mapping[str, Sequence[object]]
Described = tuple[InstanceReceived, Description]

# header_hash and pixel_data_bytes are for conflicts only; size_bytes is the event's.
_DESCRIBED = tuple(
    name for name in Description._fields if name not in ("header_hash", "pixel_data_bytes")
)
_OF_EVENT = (
    *("site", "gateway_id", "calling_ae_title", "called_ae_title", "received_at", "size_bytes"),
    *("sop_class_uid", "transfer_syntax_uid", "delivery_id", "scanner_version"),
    *("header_complete", "header"),
)
_OF_DELIVERY = (
    *("delivery_id", "site", "gateway_id", "association_id", "calling_ae_title"),
    *("called_ae_title", "peer_address", "sop_class_uid", "transfer_syntax_uid", "size_bytes"),
    *("received_at", "published_at"),
)


_OF_PAGE = (
    *("site", "gateway_id", "association_id", "calling_ae_title", "called_ae_title"),
    "peer_address",
)
_DELIVERY_UNTOLD: Mapping[str, object] = {
    **dict.fromkeys((field.name for field in fields(ContentKey)), ""),
    **dict.fromkeys(_OF_DELIVERY, ""),
    **dict.fromkeys(("quarantine_reason", "modality", "accession_number", "area"), ""),
    "size_bytes": 0,
    "locations": [],
    **dict.fromkeys(("received_at", "published_at", "replicated_at"), None),
    **dict.fromkeys(("response_status", "answered_at"), None),
    **dict.fromkeys(("received_indexed_at", "archived_indexed_at"), None),
}


def received_columns(rows: Sequence[Described]) -> Columns:
    """Table `received`: the first half of instances."""
    events = [event for event, _ in rows]
    descriptions = [description for _, description in rows]
    return {
        **_content_columns([event.content for event in events]),
        **_attributes(events, _OF_EVENT),
        "header_reason": [event.header_reason or "" for event in events],
        **_attributes(descriptions, _DESCRIBED),
    }


def sop_content_columns(rows: Sequence[Described]) -> Columns:
    """Table `sop_contents`: what tells two contents of one SOP Instance apart."""
    events = [event for event, _ in rows]
    names = ("transfer_syntax_uid", "scanner_version", "site", "received_at", "delivery_id")
    return {
        **_content_columns([event.content for event in events]),
        **_attributes(events, names),
        "header_hash": [description.header_hash for _, description in rows],
        "pixel_data_bytes": [description.pixel_data_bytes for _, description in rows],
    }


def archived_columns(packs: Sequence[PackArchived]) -> Columns:
    """Table `archived`: the second half of instances, a row for each member."""
    rows = members_of(packs)
    return {
        **_content_columns([member.content for _, member in rows]),
        **_attributes([pack for pack, _ in rows], ("object_key", "bucket", "archived_at")),
        **_attributes([m for _, m in rows], ("delivery_id", "offset_bytes", "length_bytes")),
    }


def delivery_columns(
    received: Sequence[Described],
    archived: Sequence[PackArchived],
    replicated: Sequence[PackReplicated],
    receipts: Sequence[AssociationReceipt],
    now: datetime,
) -> Columns:
    """Table `delivery_rows`: what each event tells of its deliveries, all in one insert.

    A column that an event does not tell gets the value that the table's merging takes for "not
    told". `now` is when each half of an instance was indexed.
    """
    return _stacked(
        _DELIVERY_UNTOLD,
        (
            _delivery_received(received, now),
            _delivery_archived(archived, now),
            _delivery_replicated(replicated),
            _delivery_receipts(receipts),
        ),
    )


def receipt_columns(pages: Sequence[AssociationReceipt]) -> Columns:
    """Table `receipt_rows`: every answer."""
    rows = _entries_of(pages)
    entries = [entry for _, _, entry in rows]
    return {
        **_attributes([page for page, _, _ in rows], (*_OF_PAGE, "page_index")),
        "entry_index": [index for _, index, _ in rows],
        **_attributes(entries, ("delivery_id", "sop_instance_uid", "content_sha256", "status")),
        "answered_at": [entry.at for entry in entries],
    }


def association_columns(pages: Sequence[AssociationReceipt]) -> Columns:
    """Table `association_rows`: a row for each page."""
    return {
        **_attributes(pages, (*_OF_PAGE, "opened_at")),
        "last_answered_at": [
            max((entry.at for entry in page.entries), default=None) for page in pages
        ],
        "pages": [page.page_index + 1 for page in pages],
        "ended": [page.ended or "" for page in pages],
        "totals": [{total.status: total.count for total in page.totals} for page in pages],
    }


Pack = TypeVar("Pack", PackArchived, PackReplicated)


def members_of(packs: Sequence[Pack]) -> list[tuple[Pack, PackMember]]:
    """Every member with its pack."""
    return [(pack, member) for pack in packs for member in pack.members]


def in_area(packs: Sequence[PackArchived], area: Area) -> list[PackArchived]:
    """The packs of one area."""
    return [pack for pack in packs if pack.area is area]


def _delivery_received(rows: Sequence[Described], now: datetime) -> Columns:
    events = [event for event, _ in rows]
    return {
        **_content_columns([event.content for event in events]),
        **_attributes(events, _OF_DELIVERY),
        "quarantine_reason": [event.quarantine_reason or "" for event in events],
        **_attributes([d for _, d in rows], ("modality", "accession_number")),
        "received_indexed_at": [now] * len(rows),
    }


def _delivery_archived(packs: Sequence[PackArchived], now: datetime) -> Columns:
    rows = members_of(packs)
    return {
        **_content_columns([member.content for _, member in rows]),
        **_attributes([member for _, member in rows], ("delivery_id", "gateway_id")),
        "area": [pack.area.value for pack, _ in rows],
        "locations": [[_location(pack, member)] for pack, member in rows],
        "archived_indexed_at": [now] * len(rows),
    }


def _delivery_replicated(packs: Sequence[PackReplicated]) -> Columns:
    rows = members_of(packs)
    return {
        **_content_columns([member.content for _, member in rows]),
        **_attributes([member for _, member in rows], ("delivery_id", "gateway_id")),
        "replicated_at": [pack.verified_at for pack, _ in rows],
    }


def _delivery_receipts(pages: Sequence[AssociationReceipt]) -> Columns:
    # An answer without a delivery id is of an object that was not kept: no delivery came of it.
    rows = [(page, entry) for page, _, entry in _entries_of(pages) if entry.delivery_id]
    entries = [entry for _, entry in rows]
    return {
        **_attributes([page for page, _ in rows], _OF_PAGE),
        **_attributes(entries, ("delivery_id", "sop_instance_uid", "content_sha256")),
        "response_status": [entry.status for entry in entries],
        "answered_at": [entry.at for entry in entries],
    }


def _stacked(untold: Mapping[str, object], parts: Sequence[Columns]) -> Columns:
    """The parts' rows one after another, every column of `untold` filled."""
    columns: dict[str, list[object]] = {name: [] for name in untold}
    for part in parts:
        count = len(part["delivery_id"])
        for name, value in untold.items():
            columns[name] += part.get(name, [value] * count)
    return columns


def _entries_of(
    pages: Sequence[AssociationReceipt],
) -> list[tuple[AssociationReceipt, int, ReceiptEntry]]:
    return [(page, index, entry) for page in pages for index, entry in enumerate(page.entries)]


def _location(pack: PackArchived, member: PackMember) -> tuple[object, ...]:
    where = (pack.object_key, pack.bucket)
    return (*where, member.offset_bytes, member.length_bytes, pack.archived_at)


def _content_columns(contents: Sequence[ContentKey]) -> dict[str, list[object]]:
    return _attributes(contents, tuple(field.name for field in fields(ContentKey)))


def _attributes(rows: Sequence[Any], names: Sequence[str]) -> dict[str, list[object]]:
    return {name: [getattr(row, name) for row in rows] for name in names}
