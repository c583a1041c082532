"""What is still open in the log: associations, and deliveries whose answer is not yet a record.

Invariant: a ledger loaded from a segment's checkpoint and fed the records behind it equals the
ledger of the process that wrote them, so recovery never reads further back than one segment.
Must not touch the disk.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from edge_gateway.spool.entry import (
    AssociationClosed,
    AssociationOpened,
    Ending,
    Entry,
    Receipt,
    SpooledDelivery,
)

STATUS_SUCCESS = 0x0000


@dataclass(slots=True)
class _OpenAssociation:
    status_totals: Counter[int] = field(default_factory=Counter)
    # delivery_id → (SOP Instance UID, sha256) of what is durable and has no receipt
    unanswered: dict[str, tuple[str, str]] = field(default_factory=dict)


class Ledger:
    """Open associations in the order in which they appeared."""

    def __init__(self) -> None:
        self._open: dict[str, _OpenAssociation] = {}

    @property
    def open_associations(self) -> int:
        return len(self._open)

    def apply(self, entry: Entry) -> None:
        """Takes in one durable record."""
        match entry:
            case AssociationOpened():
                self._opened(entry.association_id)
            case SpooledDelivery():
                association = self._opened(entry.association_id)
                told = (entry.sop_instance_uid, entry.content_sha256)
                association.unanswered[entry.delivery_id] = told
            case Receipt():
                known = self._open.get(entry.association_id)
                if known is not None:
                    known.status_totals[entry.status] += 1
                    known.unanswered.pop(entry.delivery_id or "", None)
            case AssociationClosed():
                self._open.pop(entry.association_id, None)

    def _opened(self, association_id: str) -> _OpenAssociation:
        # Not `setdefault`, which makes a Counter for every delivery and drops it.
        known = self._open.get(association_id)
        if known is None:
            known = self._open[association_id] = _OpenAssociation()
        return known

    def snapshot(self) -> bytes:
        """The body of a checkpoint record."""
        return orjson.dumps(
            [
                [association_id, sorted(known.status_totals.items()), known.unanswered]
                for association_id, known in self._open.items()
            ]
        )

    def load(self, body: bytes) -> None:
        """Replaces everything by a checkpoint's body."""
        self._open = {
            association_id: _OpenAssociation(
                Counter(dict(totals)),
                {delivery_id: (uid, sha256) for delivery_id, (uid, sha256) in unanswered.items()},
            )
            for association_id, totals, unanswered in orjson.loads(body)
        }

    def close_lost(self, now: datetime) -> list[Entry]:
        """The records that close what a crash left open, to be appended and applied.

        A delivery that is durable and has no receipt is told as answered 0x0000: its answer may
        have gone out, and what the sender may hold as stored must count as acknowledged.
        """
        entries: list[Entry] = []
        for association_id, known in self._open.items():
            totals = Counter(known.status_totals)
            for delivery_id, (sop_instance_uid, sha256) in known.unanswered.items():
                totals[STATUS_SUCCESS] += 1
                entries.append(
                    Receipt(
                        association_id=association_id,
                        delivery_id=delivery_id,
                        sop_instance_uid=sop_instance_uid,
                        content_sha256=sha256,
                        status=STATUS_SUCCESS,
                        answered_at=now,
                    )
                )
            entries.append(
                AssociationClosed(
                    association_id=association_id,
                    ending=Ending.GATEWAY_LOST,
                    status_totals=tuple(sorted(totals.items())),
                    closed_at=now,
                )
            )
        return entries
