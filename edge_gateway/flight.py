"""One delivery on its way to the bus: its chunks, their acknowledgements, then its event.

Invariant: the event names only offsets that were acknowledged, and is made only when every chunk
is. Bytes leave as they stand in the spool. Must not know the ledger or other deliveries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from contracts import codec
from contracts.envelope import Origin, event_headers
from contracts.events import InstanceReceived, PayloadChunk
from contracts.identity import ContentKey, is_uid, record_key
from contracts.topics import CHUNK_BYTES_MAX, PAYLOAD
from edge_gateway.progress_rows import LedgerEntry
from edge_gateway.scan import SCANNER_VERSION, FittedHeader, HeaderReason, fit_event, scan_header
from edge_gateway.spool import SpoolBody, SpooledDelivery, SpoolSet
from infra.broker import partition_for_key
from infra.seams import OutgoingRecord, PendingPublication, Publisher

EMPTY_HEADER = b"{}"


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose deliveries these are, and the way out."""

    site: str
    gateway_id: str
    origin: Origin
    publisher: Publisher


class Flight:
    """Made from a ledger entry by `board`; driven by the pipeline. Used by one thread."""

    def __init__(
        self, entry: LedgerEntry, delivery: SpooledDelivery, body: SpoolBody, sender: Sender
    ) -> None:
        self.entry = entry
        self.delivery = delivery
        self._sender = sender
        self._body: SpoolBody | None = body
        self.content, self.header = _scan(delivery, body)
        self.key = record_key(self.content)
        self._chunks: Iterator[memoryview] = _pieces(body)
        # An empty data set is one empty chunk: an event always names where its bytes lie.
        self._chunk_count = max(1, -(-body.size_bytes // CHUNK_BYTES_MAX))
        self._sent = 0
        self._unacknowledged: deque[tuple[PendingPublication, int]] = deque()
        self._offsets: list[int] = []
        self._partition = partition_for_key(self.key, PAYLOAD.partitions)
        self.event: PendingPublication | None = None
        self.published_at: datetime | None = None
        self.published_to = ""
        # Asked for again while it was on its way: what it brings is known not to be enough.
        self.is_recalled = False
        self.is_over = False
        # What this flight keeps in memory beside its unacknowledged chunks.
        self.in_flight_bytes = len(self.header.header_json)

    @property
    def is_boarded(self) -> bool:
        """Every chunk has been handed to the publisher."""
        return self._sent == self._chunk_count

    @property
    def is_payload_acknowledged(self) -> bool:
        """Every chunk's offset is known."""
        return len(self._offsets) == self._chunk_count

    def send_chunk(self, now: datetime) -> int:
        """Publishes the next chunk and returns its size.

        Raises as the publisher does, SpoolCorrupt, OSError.
        """
        data = next(self._chunks)
        delivery_id = self.entry.delivery_id
        record = OutgoingRecord(
            PAYLOAD.name,
            self.key,
            codec.encode_chunk(delivery_id, self._sent, self._chunk_count, data),
            event_headers(PayloadChunk, f"{delivery_id}/{self._sent}", self._sender.origin, now),
            self._partition,
        )
        self._unacknowledged.append((self._sender.publisher.publish(record), len(data)))
        self._sent += 1
        self.in_flight_bytes += len(data)
        if self.is_boarded:
            self.close()
        return len(data)

    def settle(self) -> bool:
        """Takes in acknowledged chunks; whether there were any. Raises as `result` does."""
        is_any = False
        while self._unacknowledged and self._unacknowledged[0][0].done():
            pending, size_bytes = self._unacknowledged.popleft()
            self.in_flight_bytes -= size_bytes
            place = pending.result(0)
            self._partition = place.partition
            self._offsets.append(place.offset)
            is_any = True
        return is_any

    def send_event(self, now: datetime) -> None:
        """Publishes the event; its payload must be acknowledged. Raises as the publisher does."""
        assert self.is_payload_acknowledged
        self.published_at = now
        event = self._event(now)
        self.event = self._sender.publisher.publish_event(event, self.key, event.delivery_id)

    def shrink_header(self) -> bool:
        """Gives the header up after the bus refused the event; False when nothing is left."""
        if self.header.header_json == EMPTY_HEADER:
            return False
        self.in_flight_bytes -= len(self.header.header_json) - len(EMPTY_HEADER)
        reason = self.header.reason or HeaderReason.OVERSIZE
        self.header = FittedHeader(EMPTY_HEADER, False, reason)
        self.event = None
        return True

    def is_quiet(self) -> bool:
        """Nothing of it is on its way any more: each record is acknowledged or failed."""
        chunks_done = all(pending.done() for pending, _ in self._unacknowledged)
        return chunks_done and (self.event is None or self.event.done())

    def close(self) -> None:
        """Lets go of the spool's bytes."""
        if self._body is not None:
            self._body.close()
            self._body = None

    def _event(self, now: datetime) -> InstanceReceived:
        delivery, sender = self.delivery, self._sender
        return InstanceReceived(
            content=self.content,
            sop_class_uid=delivery.sop_class_uid,
            transfer_syntax_uid=delivery.transfer_syntax_uid,
            delivery_id=delivery.delivery_id,
            site=sender.site,
            gateway_id=sender.gateway_id,
            association_id=delivery.association_id,
            calling_ae_title=delivery.calling_ae_title,
            called_ae_title=delivery.called_ae_title,
            peer_address=delivery.peer_address,
            peer_implementation_class_uid=delivery.peer_implementation_class_uid,
            peer_implementation_version_name=delivery.peer_implementation_version_name,
            received_at=delivery.received_at,
            size_bytes=delivery.size_bytes,
            header=self.header.header_json.decode(),
            header_complete=self.header.is_complete,
            header_reason=self.header.reason.value if self.header.reason else None,
            header_key_id=None,
            scanner_version=SCANNER_VERSION,
            quarantine_reason=delivery.quarantine_reason,
            published_at=now,
            payload_partition=self._partition,
            payload_offsets=tuple(self._offsets),
        )


def board(
    entry: LedgerEntry, delivery: SpooledDelivery, spools: SpoolSet, sender: Sender
) -> Flight:
    """A flight for a ledger entry and its record: body open, header scanned.

    Raises SpoolEntryGone, SpoolCorrupt, OSError.
    """
    with ExitStack() as until_made:
        body = until_made.enter_context(spools.open_body(delivery, entry.location))
        flight = Flight(entry, delivery, body, sender)
        until_made.pop_all()
    return flight


def _scan(delivery: SpooledDelivery, body: SpoolBody) -> tuple[ContentKey, FittedHeader]:
    source = body.stream() if delivery.external else body.read_at(0, body.size_bytes)
    scanned = scan_header(source, body.size_bytes, delivery.transfer_syntax_uid)
    content = ContentKey(
        scanned.study_instance_uid if is_uid(scanned.study_instance_uid) else "",
        scanned.series_instance_uid if is_uid(scanned.series_instance_uid) else "",
        delivery.sop_instance_uid,
        delivery.content_sha256,
    )
    return content, fit_event(scanned)


def _pieces(body: SpoolBody) -> Iterator[memoryview]:
    if body.size_bytes == 0:
        return iter((memoryview(b""),))
    return body.chunks(CHUNK_BYTES_MAX)
