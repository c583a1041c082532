"""Keeps the primary site's index: received, archived, replicated and receipts, in any order.

Invariant: an event that its own contract forbids is refused by name and no other one waits for
it; all else is in the views when `write` returns. It must not look at topics or offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consumers.index_input import fault_of, size_bytes
from consumers.index_writer import IndexWriter
from consumers.spec import BatchLimits, ConsumerSpec, Record, Rejection
from contracts.events import (
    AssociationReceipt,
    Event,
    InstanceReceived,
    PackArchived,
    PackReplicated,
)
from contracts.failures import Reason
from contracts.topics import PACK_ARCHIVED, PACK_REPLICATED, RECEIPT, RECEIVED
from infra.connect import Engines

MIB = 1024 * 1024
LIMITS = BatchLimits(records_max=5_000, bytes_max=32 * MIB, age_ms_max=500)


class MetadataIndex:
    """The writer of `metadata-index`."""

    def __init__(self, engines: Engines) -> None:
        self._index = IndexWriter(engines.primary.database, engines.clock)

    def write(self, batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        rejections = []
        good: dict[type[Event], list[Any]] = {event_type: [] for event_type in SPEC.inputs.values()}
        for record in batch:
            if fault := fault_of(record.event):
                rejections.append(Rejection(record, Reason.INVALID_FIELD, fault))
            else:
                good[type(record.event)].append(record.event)
        self._index.write(
            received=good[InstanceReceived],
            archived=good[PackArchived],
            replicated=good[PackReplicated],
            receipts=good[AssociationReceipt],
        )
        return rejections

    def tick(self) -> None:
        """Nothing is periodic here."""

    def close(self) -> None:
        """Nothing is held here but threads."""
        self._index.close()


SPEC = ConsumerSpec(
    name="metadata-index",
    inputs={
        RECEIVED: InstanceReceived,
        PACK_ARCHIVED: PackArchived,
        PACK_REPLICATED: PackReplicated,
        RECEIPT: AssociationReceipt,
    },
    limits=LIMITS,
    size_bytes=size_bytes,
    build=MetadataIndex,
)
