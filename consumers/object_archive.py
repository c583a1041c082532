"""Archives every received instance: packs of one study each, in the primary site's bucket.

Invariant: no bytes are stored under an event's name but those with the sha256 it tells, and a
gateway learns of custody only after the stored pack's size and checksum were read back. What
cannot be archived is refused by name or asked for again, never left out.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from consumers.announce import Announcer, Custody, Deadline, chunks, custody_members
from consumers.part10 import part10_head
from consumers.scratch import Scratch
from consumers.spec import BatchLimits, ConsumerSpec, Record, Rejection
from contracts.events import (
    Area,
    CustodyMember,
    CustodyState,
    InstanceReceived,
    PackArchived,
)
from contracts.failures import PoisonError, Reason
from contracts.identity import is_sha256, is_uid, record_key
from contracts.packs import ARCHIVED_AT_METADATA, MEMBERS_MAX, Pack, PackAssembly
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

Received = Record[InstanceReceived]
_log = logger("object-archive")


@dataclass(slots=True)
class _Outcome:
    """What became of the deliveries that are in no pack."""

    rejections: list[Rejection] = field(default_factory=list)
    gone: list[InstanceReceived] = field(default_factory=list)


class ObjectArchive:
    """The writer of `object-archive`; one pack is on the scratch disk at a time."""

    def __init__(self, engines: Engines) -> None:
        self._store = engines.primary.object_store
        self._site = engines.primary.name
        self._reader = engines.payload_reader
        self._clock = engines.clock
        self._metrics = engines.metrics
        self._announcer = Announcer(engines.publisher, engines.clock)
        self._scratch = Scratch(engines.scratch_directory)

    def write(self, batch: Sequence[Received]) -> Sequence[Rejection]:
        """On return each delivery is in a stored pack, refused, or asked for again.

        Its pack, its custody and its request are acknowledged. Raises RetryableError, FatalError.
        """
        deadline = Deadline(self._clock, LIMITS.write_deadline_s, "archiving a batch")
        outcome = _Outcome()
        self._announcer.forget()
        for area, group in pack_groups(_valid(batch, outcome.rejections)):
            self._archive(area, group, outcome, deadline)
        self._announce_outcome(outcome)
        self._announcer.wait()
        return outcome.rejections

    def tick(self) -> None:
        """Nothing is due between batches."""

    def close(self) -> None:
        """Nothing is held between batches."""

    def _archive(
        self, area: Area, group: Sequence[Received], outcome: _Outcome, deadline: Deadline
    ) -> None:
        with self._scratch.file("pack.tar") as path:
            pack = self._assemble(path, group, outcome, deadline)
            if pack is None:
                return
            deadline.check()
            archived_at = self._clock.now()
            stored = self._store.put_file(
                pack.key(area),
                path,
                pack.object_sha256,
                {ARCHIVED_AT_METADATA: archived_at.isoformat()},
            )
        self._metrics.count("hilum_pack_written_total", area=area.value)
        self._metrics.count("hilum_pack_written_bytes_total", pack.size_bytes)
        self._announce_pack(area, pack, stored, archived_at)

    def _assemble(
        self, path: Path, group: Sequence[Received], outcome: _Outcome, deadline: Deadline
    ) -> Pack | None:
        with path.open("wb") as file:
            assembly = PackAssembly(file)
            for record in group:
                deadline.check()
                event = record.event
                try:
                    assembly.add(event, part10_head(event), self._reader.open(event))
                except PoisonError as refused:
                    outcome.rejections.append(Rejection(record, refused.reason, refused.detail))
                except PayloadGoneError as gone:
                    _log.warning("payload gone", delivery_id=event.delivery_id, why=str(gone))
                    outcome.gone.append(event)
            return assembly.finish() if assembly.member_count else None

    def _announce_pack(
        self, area: Area, pack: Pack, stored: StoredObject, archived_at: datetime
    ) -> None:
        event = PackArchived(
            site=self._site,
            bucket=stored.bucket,
            object_key=stored.key,
            area=area,
            archived_at=_first_archived_at(stored, archived_at),
            object_sha256=pack.object_sha256,
            object_size_bytes=pack.size_bytes,
            members=pack.members,
        )
        self._announcer.publish(event, record_key(pack.members[0].content), stored.key)
        is_quarantine = area is Area.QUARANTINE
        state = CustodyState.QUARANTINED if is_quarantine else CustodyState.ARCHIVED
        self._announcer.custody(Custody(state, stored.key), custody_members(pack.members))

    def _announce_outcome(self, outcome: _Outcome) -> None:
        self._announcer.custody(
            Custody(CustodyState.REFUSED, ""),
            (_refused_member(rejection.record.event) for rejection in outcome.rejections),
        )
        self._announcer.ask_to_republish(outcome.gone)
        self._metrics.count("hilum_payload_gone_total", len(outcome.gone))


def pack_groups(batch: Iterable[Received]) -> Iterator[tuple[Area, list[Received]]]:
    """The packs of a batch: one study and area each, by delivery_id, MEMBERS_MAX at most.

    A delivery that comes twice counts once, as its newest record tells it. Without a valid Study
    Instance UID a delivery is a pack of its own. Packs come in the order in which their payload
    lies in the log, which is how the payload reader is fastest.
    """
    newest = {record.event.delivery_id: record for record in batch}
    groups: dict[tuple[Area, str], list[Received]] = {}
    for delivery_id, record in sorted(newest.items()):
        study = record.event.content.study_instance_uid
        area = Area.PACKS if record.event.quarantine_reason is None else Area.QUARANTINE
        name = study if is_uid(study) else f"delivery {delivery_id}"
        groups.setdefault((area, name), []).append(record)
    for (area, _), group in sorted(groups.items(), key=lambda item: _payload_place(item[1][0])):
        for part in chunks(group, MEMBERS_MAX):
            yield area, part


def _payload_place(record: Received) -> tuple[int, int, str]:
    event = record.event
    offsets = event.payload_offsets or (-1,)
    return (event.payload_partition or 0, offsets[0], event.delivery_id)


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
)
