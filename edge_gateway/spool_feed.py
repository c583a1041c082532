"""Takes one spool's records into the ledger, in order, the live end included.

Invariant: a record and the position behind it enter the ledger in one batch, so that none is
skipped and none counted twice; a fresh ledger is filled from everything that the spool holds.
Must not decide what becomes of a delivery.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from contracts.events import ReceiptEntry, StatusTotal
from edge_gateway.forward_health import ForwardHealth
from edge_gateway.priorities import NO_PRIORITIES, Priorities
from edge_gateway.progress import Progress
from edge_gateway.progress_receipts import AssociationFacts, ReceiptLedger
from edge_gateway.progress_rows import LedgerEntry, NewDelivery, microseconds
from edge_gateway.recent import RecentDeliveries
from edge_gateway.spool import (
    AssociationClosed,
    AssociationOpened,
    Receipt,
    SpoolCorrupt,
    SpooledDelivery,
    SpoolPosition,
    SpoolRecord,
    SpoolSet,
)
from edge_gateway.spool.entry import RecordKind, decode_entry, encode_entry
from edge_gateway.spool.family import FIRST_WORKER
from edge_gateway.spool.spool_set import WorkerReader
from infra.telemetry import logger

# One step's share of the spool: some 20 ms, so that nothing else waits long.
RECORDS_PER_STEP = 500
_POSITION = "spool_position"
_DAMAGED = "spool_damaged"
# Until a fresh ledger has seen the whole spool; a kill in between must not end that.
_REBUILDING = "rebuilding"
_LOG = logger("spool_feed")


class SpoolFeed:
    """Follows one spool for one ledger. `has_caught_up`: the last step found nothing more."""

    def __init__(
        self,
        reader: WorkerReader,
        progress: Progress,
        receipts: ReceiptLedger,
        recent: RecentDeliveries,
        health: ForwardHealth,
        *,
        priorities: Priorities = NO_PRIORITIES,
        is_whole: Callable[[], bool] = lambda: True,
    ) -> None:
        """`is_whole`: whether the spool has all that the centre may speak of; a mirror may not."""
        self._reader = reader
        self._progress = progress
        self._receipts = receipts
        self._recent = recent
        self._health = health
        self._priorities = priorities
        # Notes of worker 1 bear the names that they have in a gateway of one process.
        self._suffix = "" if reader.worker == FIRST_WORKER else f":{reader.worker}"
        self._last_order = 0
        self._is_whole = is_whole
        self.has_caught_up = False
        self._is_rebuilding = False

    def begin(self) -> None:
        """Goes to where the ledger ends; takes in what was copied forward and is not in it."""
        position = self._note(_POSITION)
        self._is_rebuilding = not position or bool(self._note(_REBUILDING))
        if position:
            segment, offset_bytes, *order = orjson.loads(position)
            self._reader.seek(SpoolPosition(segment, offset_bytes))
            # A clock that was set back meanwhile lets nothing overtake what was accepted before.
            self._last_order = order[0] if order else 0
        else:
            self._set_note(_REBUILDING, "yes")
        for delivery_id in self._reader.remnant_ids():
            if self._progress.find(delivery_id) is not None:
                continue
            try:
                record = self._reader.remnant(delivery_id)
            except SpoolCorrupt as problem:
                self._note_damage(problem)
                continue
            if isinstance(record.entry, SpooledDelivery):
                self._add_delivery(record.entry, record, is_remnant=True)

    @property
    def position(self) -> SpoolPosition:
        """Everything before it is in the ledger."""
        return self._reader.position

    def step(self) -> bool:
        """Takes in the next records; whether there were any. Raises OSError of the disk."""
        is_whole = self._is_whole()
        try:
            records = self._reader.poll(RECORDS_PER_STEP)
        except SpoolCorrupt as problem:
            self.has_caught_up = False
            self._note_damage(problem)
            self._note_position(self._reader.skip_damaged())
            return True
        for record in records:
            self._take(record)
        if records:
            self._note_position(records[-1].following)
        # What stands behind a rotten record is in the spool too, and custody may speak of it.
        is_short = len(records) < RECORDS_PER_STEP
        self.has_caught_up = is_whole and is_short and not self._reader.is_before_damage
        if self.has_caught_up and self._is_rebuilding:
            self._is_rebuilding = False
            self._set_note(_REBUILDING, "")
            # Receipts of long ago were published and went with their segments.
            self._receipts.settle_segments(self._reader.first_segment, self.position.segment_number)
            self._note_position(self.position)
        return bool(records)

    def end(self) -> None:
        """The spool is gone: the ledger has no place in it any more."""
        self._reader.close()
        for name in (_POSITION, _DAMAGED, _REBUILDING):
            self._set_note(name, "")

    def _take(self, record: SpoolRecord) -> None:
        segment = record.location.segment_number
        match record.entry:
            case SpooledDelivery() as delivery:
                self._add_delivery(delivery, record, is_remnant=False)
            case Receipt() as receipt:
                self._add_receipt(receipt, segment)
            case AssociationOpened() as opened:
                facts = AssociationFacts(
                    opened.association_id,
                    opened.calling_ae_title,
                    opened.called_ae_title,
                    opened.peer_address,
                    opened.opened_at,
                )
                self._receipts.open_association(facts, segment)
            case AssociationClosed() as closed:
                totals = tuple(StatusTotal(*pair) for pair in closed.status_totals)
                self._receipts.close_association(
                    closed.association_id, closed.ending.value, totals, segment
                )

    def _add_delivery(
        self, delivery: SpooledDelivery, record: SpoolRecord, is_remnant: bool
    ) -> None:
        self._progress.add(
            NewDelivery(
                delivery_id=delivery.delivery_id,
                association_id=delivery.association_id,
                location=record.location,
                facts=encode_entry(delivery) if is_remnant else None,
                sop_class_uid=delivery.sop_class_uid,
                sop_instance_uid=delivery.sop_instance_uid,
                content_sha256=delivery.content_sha256,
                size_bytes=delivery.size_bytes,
                received_at=delivery.received_at,
                has_receipt=is_remnant,
                priority=self._priorities.of(delivery.calling_ae_title, delivery.sop_class_uid),
                calling_ae_title=delivery.calling_ae_title,
                order=self._order_of(delivery),
            )
        )
        if not is_remnant:
            self._recent.put(delivery)
            # Where the record of its opening went with a recycled segment and the ledger with it.
            facts = AssociationFacts(
                delivery.association_id,
                delivery.calling_ae_title,
                delivery.called_ae_title,
                delivery.peer_address,
                delivery.received_at,
            )
            self._receipts.open_association(facts, None)

    def _order_of(self, delivery: SpooledDelivery) -> int:
        """Its place among those of all spools: by time, as accepted within this one.

        A spool's own sequence would put all of a worker that was added later before the others'.
        """
        self._last_order = max(self._last_order + 1, microseconds(delivery.received_at))
        return self._last_order

    def _add_receipt(self, receipt: Receipt, segment: int) -> None:
        # Of an association whose opening nobody knows any more, its id is all there is to say.
        facts = AssociationFacts(receipt.association_id, "", "", "", receipt.answered_at)
        self._receipts.open_association(facts, None)
        entry = ReceiptEntry(
            receipt.delivery_id or "",
            receipt.sop_instance_uid,
            receipt.content_sha256 or "",
            receipt.status,
            receipt.answered_at,
        )
        self._receipts.add(receipt.association_id, segment, entry)

    def _note_position(self, position: SpoolPosition) -> None:
        noted = (position.segment_number, position.offset_bytes, self._last_order)
        self._set_note(_POSITION, orjson.dumps(noted).decode())

    def _note_damage(self, problem: SpoolCorrupt) -> None:
        places = int(self._note(_DAMAGED) or "0") + 1
        self._set_note(_DAMAGED, str(places))
        _LOG.error("a record of the spool has rotted", problem=str(problem), places=places)
        where = f" of worker {self._reader.worker}" if self._suffix else ""
        text = f"{places} rotten place(s) in the spool{where}"
        self._health.note_aside(f"damaged{self._suffix}", text)

    def _note(self, name: str) -> str | None:
        return self._progress.note(name + self._suffix)

    def _set_note(self, name: str, value: str) -> None:
        self._progress.set_note(name + self._suffix, value)


def facts_of(spools: SpoolSet, entry: LedgerEntry) -> SpooledDelivery:
    """The whole record of a ledger entry, from its spool. Raises SpoolEntryGone, SpoolCorrupt."""
    if entry.facts is not None:
        found = decode_entry(RecordKind.DELIVERY, entry.facts)
    else:
        found = spools.entry_at(entry.location)
    if not isinstance(found, SpooledDelivery) or found.delivery_id != entry.delivery_id:
        raise SpoolCorrupt(f"reading delivery {entry.delivery_id}: another record is there")
    return found
