"""What an index can be rebuilt from, and what each of these sources cannot know.

Invariant: this is the one list of what a comparison leaves out, with the reason for each; what is
not named here must be equal. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# The tables of an index, in the order in which they are exchanged: what all others follow from
# first. `usage_*` are another consumer's.
TABLES = (
    *("received", "sop_contents", "archived", "delivery_rows", "receipt_rows", "association_rows"),
    *("instance_rows", "series_rows", "study_rows", "conflict_rows"),
)
KEYS: Mapping[str, tuple[str, ...]] = {
    "instances": (
        *("study_instance_uid", "series_instance_uid", "sop_instance_uid", "content_sha256"),
    ),
    "series": ("study_instance_uid", "series_instance_uid"),
    "studies": ("study_instance_uid",),
    "deliveries": ("delivery_id",),
    "conflicts": ("sop_instance_uid",),
    "quarantine": ("delivery_id",),
    "receipts": ("gateway_id", "association_id", "page_index", "entry_index", "delivery_id"),
    "associations": ("gateway_id", "association_id"),
}
_WRITTEN_AT = "says when the index was written"
_RECEIPT = "comes from receipts, which no pack holds"
_REPLICA = "comes from the second site's confirmation, which no pack holds"
_REPUBLISHED = "a delivery may be published several times, a pack tells of one of them"


@dataclass(frozen=True, slots=True)
class Kind:
    """A source of an index.

    `left_out` says for each view which columns are not compared and why, `rows` which rows are;
    `carried` are the columns of `delivery_rows` that the index in use hands on at a swap.
    """

    name: str
    views: tuple[str, ...]
    tables: tuple[str, ...]
    left_out: Mapping[str, Mapping[str, str]]
    carried: tuple[str, ...]
    rows: Mapping[str, str] = field(default_factory=dict)
    is_whole: bool = True


TOPICS = Kind(
    name="topics",
    views=tuple(KEYS),
    tables=TABLES,
    left_out={"deliveries": {"indexed_at": _WRITTEN_AT}},
    carried=("received_indexed_at", "archived_indexed_at"),
)
# What a pack does not hold is handed on from the index in use and not exchanged.
BUCKET = Kind(
    name="bucket",
    views=("instances", "series", "studies", "deliveries", "conflicts", "quarantine"),
    tables=tuple(name for name in TABLES if name not in ("receipt_rows", "association_rows")),
    left_out={
        "deliveries": {
            "indexed_at": _WRITTEN_AT,
            "published_at": _REPUBLISHED,
            "replicated_at": _REPLICA,
            "response_status": _RECEIPT,
            "status": f"follows from replicated_at too, which {_REPLICA}",
        },
        "quarantine": {"replicated_at": _REPLICA},
    },
    carried=(
        *("received_indexed_at", "archived_indexed_at", "published_at", "replicated_at"),
        *("response_status", "answered_at"),
    ),
    rows={"deliveries": "area != ''"},
    is_whole=False,
)
