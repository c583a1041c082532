"""What must hold, told from the sender's history, the bucket, the logs and the spool's bytes.

Invariant: nothing here asks the product whether it is right: packs are read by their format, logs
by their records, ledgers by their rows. I1, I2, I3, I5 and I10 are told at their functions.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from contracts import codec, topics
from contracts.events import (
    AssociationReceipt,
    CustodyRecorded,
    CustodyState,
    GatewayRequest,
    InstanceReceived,
    PackArchived,
    RequestKind,
)
from contracts.failures import PoisonError
from contracts.pack_reading import read_pack
from edge_gateway.spool import SpoolCorrupt, SpooledDelivery, SpoolEntryGone, SpoolReader
from infra.partitions import Partition
from tests.simulation.bus import SimulatedBus
from tests.simulation.instances import History
from tests.simulation.store import MemoryStore

E = TypeVar("E")
# What the simulation itself puts on topics that is no event: bytes, or no value at all.
GARBAGE = b"garbage"
_NO_EVENTS = (GARBAGE, None)
Found = dict[str, str]  # delivery_id → sha256 of the bytes that are there


@lru_cache(maxsize=8192)
def event_in(value: bytes | None, event_type: type[E]) -> E:
    """The event in a record's value; each is looked at after every step. Raises PoisonError."""
    return codec.decode(value or b"", event_type)


class Violation(AssertionError):
    """An invariant does not hold."""


def require(holds: bool, what: str) -> None:
    """Raises Violation unless it holds."""
    if not holds:
        raise Violation(what)


class Bucket:
    """The members of every pack in the store, by their bytes. Objects never change."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._read: dict[str, Found] = {}

    def members(self) -> Found:
        """Over all packs; a member counts only where its bytes have the sha256 it claims."""
        found: Found = {}
        for key in self._store.objects:
            found.update(self.of_object(key))
        return found

    def of_object(self, key: str) -> Found:
        if key not in self._read:
            self._read[key] = _members_of(self._store.objects[key], key)
        return self._read[key]


def _members_of(data: bytes, key: str) -> Found:
    require(hashlib.sha256(data).hexdigest() in key, f"{key} is not named by its bytes")
    contents = read_pack(lambda offset, length: data[offset : offset + length], len(data))
    found: Found = {}
    for event, member in zip(contents.events, contents.members, strict=True):
        end = member.offset_bytes + member.length_bytes
        body = data[end - event.size_bytes : end]
        sha256 = hashlib.sha256(body).hexdigest()
        require(
            sha256 == event.content.content_sha256,
            f"I1: {event.delivery_id} lies in {key} with other bytes than its manifest tells",
        )
        found[event.delivery_id] = sha256
    return found


def in_spool(directory: Path) -> Found:
    """Every delivery that the spool's own reader finds, with the sha256 of its bytes."""
    found: Found = {}
    reader = SpoolReader(directory)
    try:
        while True:
            try:
                records = reader.poll(1_000)
            except SpoolCorrupt:
                reader.skip_damaged()
                continue
            if not records:
                break
            for record in records:
                if isinstance(record.entry, SpooledDelivery):
                    _take(reader, record.entry, record.location, found)
        for delivery_id in reader.remnant_ids():
            with suppress(SpoolCorrupt):
                record = reader.remnant(delivery_id)
                if isinstance(record.entry, SpooledDelivery):
                    _take(reader, record.entry, record.location, found)
    finally:
        reader.close()
    return found


def _take(reader: SpoolReader, delivery: SpooledDelivery, location: object, found: Found) -> None:
    try:
        with reader.open_body(delivery, location) as body:  # type: ignore[arg-type]
            data = b"".join(bytes(chunk) for chunk in body.chunks(1 << 20))
    except (SpoolCorrupt, SpoolEntryGone):
        return
    found[delivery.delivery_id] = hashlib.sha256(data).hexdigest()


def require_nothing_lost(history: History, archived: Found, spooled: Found) -> None:
    """I1, and I5: nothing is anywhere that was not received."""
    for sent in history.acknowledged():
        delivery_id = sent.instance.delivery_id
        places = (archived.get(delivery_id), spooled.get(delivery_id))
        require(
            sent.content_sha256 in places,
            f"I1: acknowledged delivery {delivery_id} is neither archived nor spooled",
        )
    for delivery_id, sha256 in (*archived.items(), *spooled.items()):
        known = history.sent.get(delivery_id)
        require(
            known is not None and known.content_sha256 == sha256,
            f"I5: {delivery_id} was never received like this",
        )


def require_order(history: History, bus: SimulatedBus, set_aside: Iterable[str]) -> None:
    """I3: first deliveries of a study are published in the order of their acceptance."""
    accepted = {delivery_id: place for place, delivery_id in enumerate(history.sent)}
    excused = set(set_aside)
    last: dict[str, int] = defaultdict(lambda: -1)
    seen: set[str] = set()
    for record in bus.published:
        if record.topic != topics.RECEIVED.name or record.value in _NO_EVENTS:
            continue
        event = event_in(record.value, InstanceReceived)
        if event.delivery_id in seen or event.delivery_id in excused:
            continue
        seen.add(event.delivery_id)
        place, study = accepted[event.delivery_id], event.content.study_instance_uid
        require(place > last[study], f"I3: {event.delivery_id} overtook one of its study")
        last[study] = place


def require_single_rows(bus: SimulatedBus, bucket: Bucket) -> None:
    """I2: what packs are announced gives each content one row, whose object has its bytes."""
    where: dict[object, str] = {}
    for record in bus.events(PackArchived):
        event = event_in(record.value, PackArchived)
        held = bucket.of_object(event.object_key)
        for member in event.members:
            require(
                held.get(member.delivery_id) == member.content.content_sha256,
                f"I2: {event.object_key} was announced with {member.delivery_id}, not there",
            )
            # Merging takes the smallest key, whatever came first.
            known = where.get(member.content)
            where[member.content] = min(known or event.object_key, event.object_key)
    by_instance: dict[tuple[str, str], object] = {}
    for content in where:
        key = (content.sop_instance_uid, content.content_sha256)  # type: ignore[attr-defined]
        require(by_instance.setdefault(key, content) == content, f"I2: {key} has two rows")


class CommitWatch:
    """Sees every commit of the archive before it counts."""

    def __init__(self, bus: SimulatedBus, bucket: Bucket) -> None:
        self._bus = bus
        self._bucket = bucket

    def see(self, offsets: Mapping[Partition, int]) -> None:
        """No commit past a record that is not written, refused or asked for again, and told.

        A record that says what it is and is in a dead letter is in custody's word, too. Of a
        delivery that is twice in one batch the later record stands for both.
        """
        archived = self._bucket.members()
        told = self._told_custody()
        asked, letters = self._asked_again(), self._dead_letters()
        for partition, offset in offsets.items():
            log = self._bus.logs[partition]
            require(offset <= log.end, f"commit of {offset} beyond the end of {partition}")
            for record in log.records[: offset - log.start]:
                place = (partition.number, record.offset)
                try:
                    event = event_in(record.value, InstanceReceived)
                except PoisonError:
                    require(place in letters, f"commit past {place}, in no dead letter")
                    continue
                is_kept = archived.get(event.delivery_id) == event.content.content_sha256
                is_set_aside = any(
                    letters.get((partition.number, later)) == event.delivery_id
                    for later in range(record.offset, offset)
                )
                is_told = event.delivery_id in told and (is_kept or is_set_aside)
                require(
                    is_told or event.delivery_id in asked,
                    f"commit past unwritten {event.delivery_id} at {place}",
                )

    def _told_custody(self) -> set[str]:
        return {
            member.delivery_id
            for record in self._bus.events(CustodyRecorded)
            if record.value not in _NO_EVENTS
            for member in event_in(record.value, CustodyRecorded).members
        }

    def _asked_again(self) -> set[str]:
        found: set[str] = set()
        for record in self._bus.events(GatewayRequest):
            if record.value in _NO_EVENTS:
                continue
            request = event_in(record.value, GatewayRequest)
            if request.kind is RequestKind.REPUBLISH:
                found.update(request.delivery_ids)
        return found

    def _dead_letters(self) -> dict[tuple[int, int], str]:
        """The delivery of each by its place; '' for what does not say what it is."""
        found = {}
        for record in self._bus.log(topics.RECEIVED.dlq_name, 0).records:
            headers = dict(record.headers)
            place = (int(headers["hilum-partition"]), int(headers["hilum-offset"]))
            try:
                found[place] = event_in(record.value, InstanceReceived).delivery_id
            except PoisonError:
                found[place] = ""
        return found


def receipts_told(bus: SimulatedBus) -> set[str]:
    """The deliveries that a published receipt names, on any log there ever was."""
    return {
        entry.delivery_id
        for record in bus.published
        if record.topic == topics.RECEIPT.name
        for entry in event_in(record.value, AssociationReceipt).entries
    }


def refused_ever(bus: SimulatedBus) -> set[str]:
    """The deliveries that the archive refused, on any log there ever was."""
    return {
        member.delivery_id
        for record in bus.published
        if record.topic == topics.CUSTODY.name and record.value not in _NO_EVENTS
        for custody in (event_in(record.value, CustodyRecorded),)
        if custody.state is CustodyState.REFUSED
        for member in custody.members
    }
