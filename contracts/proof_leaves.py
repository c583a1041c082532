"""What the custody proof keeps of an event: one leaf for each fact about one delivery.

Invariant: the same fact always gives the same bytes, and a leaf holds ids, hashes, numbers and
times, nothing of a patient. Pure. It must not leave anything out: each receipt entry and each
member of a pack is a leaf of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from contracts.events import (
    AssociationReceipt,
    Event,
    PackArchived,
    PackMember,
    PackReplicated,
)


class LeafKind(StrEnum):
    """What a leaf tells."""

    ANSWERED = "answered"  # a C-STORE response
    ENDED = "ended"  # an association, with its responses by status
    ARCHIVED = "archived"  # a delivery in a pack of the archive
    REPLICATED = "replicated"  # a delivery in a pack that the second site re-hashed


@dataclass(frozen=True, slots=True)
class Leaf:
    """A fact on the chain of `site`. `data` is its canonical JSON: sorted keys, no spaces, UTF-8.

    `identity` is the same for the same fact told again at another time.
    """

    site: str
    data: bytes
    identity: bytes


def leaves_of(event: Event) -> Iterator[Leaf]:
    """The leaves of a receipt, an archived pack or a replicated one, in the event's order."""
    if isinstance(event, AssociationReceipt):
        yield from _of_receipt(event)
    elif isinstance(event, PackArchived):
        for member in event.members:
            yield _member(LeafKind.ARCHIVED, event.site, event, member, event.archived_at)
    elif isinstance(event, PackReplicated):
        for member in event.members:
            yield _member(LeafKind.REPLICATED, event.dr_site, event, member, event.verified_at)
    else:
        raise AssertionError(f"not an input: {type(event).__name__}")


def site_of(event: Event) -> str:
    """Whose chain an event belongs to."""
    assert isinstance(event, AssociationReceipt | PackArchived | PackReplicated)
    return event.dr_site if isinstance(event, PackReplicated) else event.site


def identity_of(data: bytes) -> bytes:
    """The `identity` of a leaf that was read back. Raises ValueError where it is no leaf."""
    fields = orjson.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("not an object")
    return _identity(fields)


def _of_receipt(page: AssociationReceipt) -> Iterator[Leaf]:
    place = {
        "gateway_id": page.gateway_id,
        "association_id": page.association_id,
        "page_index": page.page_index,
    }
    for index, entry in enumerate(page.entries):
        fields = {
            "kind": LeafKind.ANSWERED.value,
            **place,
            "entry_index": index,
            "calling_ae_title": page.calling_ae_title,
            "delivery_id": entry.delivery_id,
            "sop_instance_uid": entry.sop_instance_uid,
            "content_sha256": entry.content_sha256,
            "status": entry.status,
            "at": _time(entry.at),
        }
        yield _leaf(page.site, fields)
    if page.ended is not None:
        totals = {str(total.status): total.count for total in page.totals}
        fields = {"kind": LeafKind.ENDED.value, **place, "ended": page.ended, "totals": totals}
        yield _leaf(page.site, fields)


def _member(
    kind: LeafKind,
    site: str,
    pack: PackArchived | PackReplicated,
    member: PackMember,
    at: datetime,
) -> Leaf:
    content = member.content
    fields = {
        "kind": kind.value,
        "bucket": pack.bucket,
        "object_key": pack.object_key,
        "object_sha256": pack.object_sha256,
        "offset_bytes": member.offset_bytes,
        "length_bytes": member.length_bytes,
        "delivery_id": member.delivery_id,
        "gateway_id": member.gateway_id,
        "study_instance_uid": content.study_instance_uid,
        "series_instance_uid": content.series_instance_uid,
        "sop_instance_uid": content.sop_instance_uid,
        "content_sha256": content.content_sha256,
        "at": _time(at),
    }
    return _leaf(site, fields)


def _leaf(site: str, fields: dict[str, Any]) -> Leaf:
    return Leaf(site, _canonical(fields), _identity(fields))


def _identity(fields: dict[str, Any]) -> bytes:
    fact = {name: value for name, value in fields.items() if name != "at"}
    return hashlib.sha256(_canonical(fact)).digest()[:16]


def _canonical(fields: dict[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
