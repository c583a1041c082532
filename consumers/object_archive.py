"""Archives every received instance: packs of one study each, in the primary site's bucket.

Invariant: no bytes are stored under an event's name but those with the sha256 it tells, and a
gateway learns of custody only after the stored pack's size and checksum were read back. What
cannot be archived is refused by name or asked for again, never left out. A pack that the store
refuses for good is halved until what it refuses is one delivery.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from consumers.announce import Announcer, Custody, Deadline, custody_members
from consumers.archive_outcome import Assembled, Outcome, Refused, Stored
from consumers.pack_buffers import PackBuffers
from consumers.pack_groups import Received, memory_bytes, pack_groups
from consumers.part10 import part10_head
from consumers.scratch import Scratch
from consumers.spec import BatchLimits, ConsumerSpec, Rejection
from consumers.transfers import Transfers
from contracts.events import (
    Area,
    CustodyMember,
    CustodyState,
    InstanceReceived,
    PackArchived,
)
from contracts.failures import PoisonError, Reason
from contracts.identity import is_sha256, record_key
from contracts.packs import ARCHIVED_AT_METADATA, PackAssembly, PackFile
from contracts.topics import RECEIVED
from infra.connect import Engines
from infra.seams import PayloadGoneError, StoredObject
from infra.telemetry import logger

MIB = 1024 * 1024
# An hour, because a rebalance may have to wait for a write over a slow line; the deadline ends
# what is slower than 256 MiB in 25 minutes (03-delivery).
LIMITS = BatchLimits(
    records_max=8_000,
    bytes_max=256 * MIB,
    age_ms_max=2_000,
    poll_interval_ms_max=3_600_000,
    write_deadline_s=25 * 60.0,
)

_log = logger("object-archive")


class ObjectArchive:
    """The writer of `object-archive`. A pack is gathered in memory and goes up beside the next.

    One that the memory set aside for packs never holds (a giant instance) goes by the scratch
    disk, one at a time.
    """

    def __init__(self, engines: Engines) -> None:
        self._objects = engines.primary.object_store
        self._site = engines.primary.name
        self._reader = engines.payload_reader
        self._clock = engines.clock
        self._metrics = engines.metrics
        self._announcer = Announcer(engines.publisher, engines.clock)
        self._scratch = Scratch(engines.scratch_directory)
        settings = engines.settings.consumer(SPEC.name)
        self._transfers: Transfers[Stored | Refused] = Transfers(settings)

    def write(self, batch: Sequence[Received]) -> Sequence[Rejection]:
        """On return each delivery is in a stored pack, refused, or asked for again.

        Its pack, its custody and its request are acknowledged. Raises RetryableError, FatalError.
        """
        deadline = Deadline(self._clock, LIMITS.write_deadline_s, "archiving a batch")
        outcome = Outcome()
        self._announcer.forget()
        try:
            groups = list(pack_groups(_valid(batch, outcome.rejections)))
            while groups:
                for area, group in groups:
                    self._archive(area, group, outcome, deadline)
                for done in self._transfers.rest():
                    self._settle(done, outcome)
                    deadline.check()
                groups = outcome.take_halves()
        finally:
            self._transfers.abandon()
        self._announce_outcome(outcome)
        self._announcer.wait()
        return outcome.rejections

    def tick(self) -> None:
        """Nothing is due between batches."""

    def close(self) -> None:
        """Nothing is held between batches but threads."""
        self._transfers.close()

    def _archive(
        self, area: Area, group: Sequence[Received], outcome: Outcome, deadline: Deadline
    ) -> None:
        size_bytes_max = sum(map(memory_bytes, group))
        if not self._transfers.has_room_for(size_bytes_max):
            self._archive_by_scratch(area, group, outcome, deadline)
            return
        for done in self._transfers.make_room(size_bytes_max):
            self._settle(done, outcome)
        file = PackBuffers()
        assembled = self._assemble(area, file, group, outcome, deadline)
        if assembled is not None:
            deadline.check()
            self._transfers.start(size_bytes_max, partial(self._store, assembled, file))

    def _archive_by_scratch(
        self, area: Area, group: Sequence[Received], outcome: Outcome, deadline: Deadline
    ) -> None:
        with self._scratch.file("pack.tar") as path:
            with path.open("wb") as file:
                assembled = self._assemble(area, file, group, outcome, deadline)
            if assembled is None:
                return
            deadline.check()
            done = self._store(assembled, path)
        self._settle(done, outcome)

    def _store(self, assembled: Assembled, held: PackBuffers | Path) -> Stored | Refused:
        """On a thread of the transfers, or on the writer's own."""
        at = self._clock.now()
        area, pack = assembled.area, assembled.pack
        key, sha256 = pack.key(area), pack.object_sha256
        try:
            if isinstance(held, Path):
                stored = self._objects.put_file(key, held, sha256, _metadata(at))
            else:
                stored = self._objects.put_buffers(key, held.buffers, sha256, _metadata(at))
        except PoisonError as cause:
            return Refused(area, assembled.records, cause)
        return Stored(area, pack, stored, at)

    def _settle(self, done: Stored | Refused, outcome: Outcome) -> None:
        if isinstance(done, Stored):
            self._announce_pack(done)
            return
        deliveries, why = len(done.records), done.cause.detail
        _log.warning("the store refuses a pack", deliveries=deliveries, why=why)
        self._metrics.count("hilum_pack_refused_total")
        outcome.refuse(done)

    def _assemble(
        self,
        area: Area,
        file: PackFile,
        group: Sequence[Received],
        outcome: Outcome,
        deadline: Deadline,
    ) -> Assembled | None:
        assembly = PackAssembly(file)
        records: list[Received] = []
        for record in group:
            deadline.check()
            event = record.event
            try:
                assembly.add(event, part10_head(event), self._reader.open(event))
                records.append(record)
            except PoisonError as refused:
                outcome.rejections.append(Rejection(record, refused.reason, refused.detail))
            except PayloadGoneError as gone:
                _log.warning("payload gone", delivery_id=event.delivery_id, why=str(gone))
                outcome.gone.append(event)
        return Assembled(area, assembly.finish(), records) if records else None

    def _announce_pack(self, done: Stored) -> None:
        pack, stored = done.pack, done.stored
        self._metrics.count("hilum_pack_written_total", area=done.area.value)
        self._metrics.count("hilum_pack_written_bytes_total", pack.size_bytes)
        event = PackArchived(
            site=self._site,
            bucket=stored.bucket,
            object_key=stored.key,
            area=done.area,
            archived_at=_first_archived_at(stored, done.archived_at),
            object_sha256=pack.object_sha256,
            object_size_bytes=pack.size_bytes,
            members=pack.members,
        )
        self._announcer.publish(event, record_key(pack.members[0].content), stored.key)
        is_quarantine = done.area is Area.QUARANTINE
        state = CustodyState.QUARANTINED if is_quarantine else CustodyState.ARCHIVED
        self._announcer.custody(Custody(state, stored.key), custody_members(pack.members))

    def _announce_outcome(self, outcome: Outcome) -> None:
        self._announcer.custody(
            Custody(CustodyState.REFUSED, ""),
            (_refused_member(rejection.record.event) for rejection in outcome.rejections),
        )
        self._announcer.ask_to_republish(outcome.gone)
        self._metrics.count("hilum_payload_gone_total", len(outcome.gone))


def _valid(batch: Iterable[Received], rejections: list[Rejection]) -> Iterator[Received]:
    """Records whose identities are what they claim to be: they become names in a pack."""
    for record in batch:
        fault = _fault(record.event)
        if fault is None:
            yield record
        else:
            rejections.append(Rejection(record, Reason.INVALID_FIELD, fault))


def _fault(event: InstanceReceived) -> str | None:
    if not _is_canonical_uuid(event.delivery_id):
        return "delivery_id is no canonical UUID"
    if not is_sha256(event.content.content_sha256):
        return "content_sha256 is no SHA-256 in lowercase hex"
    if event.size_bytes < 0:
        return f"size_bytes is {event.size_bytes}"
    return None


def _is_canonical_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _refused_member(event: InstanceReceived) -> tuple[str, CustodyMember]:
    return event.gateway_id, CustodyMember(event.delivery_id, event.content.content_sha256)


def _metadata(archived_at: datetime) -> dict[str, str]:
    return {ARCHIVED_AT_METADATA: archived_at.isoformat()}


def _first_archived_at(stored: StoredObject, now: datetime) -> datetime:
    """When the object came to be: an earlier write of the same bytes counts."""
    try:
        kept = datetime.fromisoformat(stored.metadata[ARCHIVED_AT_METADATA])
    except (KeyError, ValueError):
        return now
    return kept if kept.tzinfo else kept.replace(tzinfo=UTC)


def size_bytes(event: InstanceReceived) -> int:
    """What counts against the batch's bytes: the data set."""
    return event.size_bytes


SPEC = ConsumerSpec(
    name="object-archive",
    inputs={RECEIVED: InstanceReceived},
    limits=LIMITS,
    size_bytes=size_bytes,
    build=ObjectArchive,
    holds_packs=True,
)
