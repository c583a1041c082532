"""What each witness of an image says: receipts, manifests in a bucket, an index, dead letters.

Invariant: each source is read on its own and believed about itself only; nothing is inferred
from one about another. Contents are (SOP Instance UID, sha256) pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from contracts import codec
from contracts.events import (
    AssociationReceipt,
    Event,
    GatewayState,
    InstanceReceived,
    PackArchived,
)
from contracts.failures import PoisonError
from contracts.pack_reading import PackFormatError, parse_locator, parse_manifest
from contracts.packs import LOCATOR_TAIL_BYTES
from contracts.topics import PACK_ARCHIVED, RECEIPT, RECEIVED, Topic
from infra.seams import Database, ObjectStore, StoredObject
from infra.settings import KafkaSettings
from infra.topic_tail import read_all
from operations.dead_letters import DeadLetter, dead_letters
from operations.gateway_words import gateway_words

Content = tuple[str, str]
E = TypeVar("E", bound=Event)
SUCCESS = 0x0000
# Manifests are read by range requests; more workers only queue at one local store.
MANIFEST_WORKERS = 8


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """One C-STORE response that a receipt tells of."""

    delivery_id: str
    content: Content
    status: int
    at: datetime


@dataclass(frozen=True, slots=True)
class ArchivedMember:
    """One delivery in one pack of a bucket, as the pack's own manifest says."""

    object_key: str
    content: Content
    delivery_id: str
    received_at: datetime
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """Everything a bucket says of itself."""

    objects: tuple[StoredObject, ...]
    archived: tuple[ArchivedMember, ...]
    quarantined: tuple[ArchivedMember, ...]
    unreadable: tuple[str, ...]


def acknowledgements(settings: KafkaSettings) -> list[Acknowledgement]:
    """Every response of the receipt topic; a repeated page counts once (by delivery id)."""
    found: dict[str, Acknowledgement] = {}
    for receipt in _readable(settings, RECEIPT, AssociationReceipt):
        for entry in receipt.entries:
            content = (entry.sop_instance_uid, entry.content_sha256)
            found[entry.delivery_id] = Acknowledgement(
                entry.delivery_id, content, entry.status, entry.at
            )
    return list(found.values())


def gateway_states(settings: KafkaSettings) -> dict[str, GatewayState]:
    """The latest word of each gateway id."""
    return {key: word.state for key, word in gateway_words(settings).items()}


def unarchived_count(state: GatewayState) -> int:
    """How many deliveries a gateway holds that no archive has confirmed."""
    return sum(t.deliveries for t in state.totals if t.state in ("spooled", "published"))


def named_objects(settings: KafkaSettings) -> set[str]:
    """The keys of every pack that an event names."""
    return {pack.object_key for pack in archived_packs(settings)}


def archived_packs(settings: KafkaSettings) -> Iterator[PackArchived]:
    """Every event that names a pack; one that was announced twice comes twice."""
    return _readable(settings, PACK_ARCHIVED, PackArchived)


def _readable(settings: KafkaSettings, topic: Topic, event_type: type[E]) -> Iterator[E]:
    """A topic's events. What does not decode says nothing: it can only make counts disagree.

    (Topics are kept for good: one foreign record must not end every look at them.)
    """
    for record in read_all(settings, topic.name):
        try:
            yield codec.decode(record.value or b"", event_type)
        except PoisonError:
            continue


def bucket(store: ObjectStore, on_pack: Callable[[], None] = lambda: None) -> Bucket:
    """Lists a bucket and reads the manifest of each pack in it."""
    return manifests_of(store, pack_objects(store), on_pack)


def pack_objects(store: ObjectStore) -> tuple[StoredObject, ...]:
    """Every pack that a bucket lists, of both areas."""
    return tuple(store.list("packs/")) + tuple(store.list("quarantine/"))


def manifests_of(
    store: ObjectStore, objects: Sequence[StoredObject], on_pack: Callable[[], None] = lambda: None
) -> Bucket:
    """What the manifests of some packs say."""
    archived: list[ArchivedMember] = []
    quarantined: list[ArchivedMember] = []
    unreadable: list[str] = []

    def members_of(stored: StoredObject) -> tuple[StoredObject, list[ArchivedMember] | None]:
        try:
            return stored, list(_members(store, stored))
        except PackFormatError:
            return stored, None
        except KeyError:
            return stored, []  # collected since it was listed; what is lost, the counts show

    with ThreadPoolExecutor(MANIFEST_WORKERS) as pool:
        for stored, members in pool.map(members_of, objects):
            on_pack()
            if members is None:
                unreadable.append(stored.key)
            elif stored.key.startswith("quarantine/"):
                quarantined.extend(members)
            else:
                archived.extend(members)
    return Bucket(tuple(objects), tuple(archived), tuple(quarantined), tuple(unreadable))


def indexed(database: Database) -> set[Content]:
    """The contents that `instances` shows."""
    return {
        (str(row["sop_instance_uid"]), str(row["content_sha256"]))
        for row in database.query("SELECT sop_instance_uid, content_sha256 FROM instances")
    }


def conflict_count(database: Database) -> int:
    """How many SOP Instance UIDs carry more than one content."""
    row = database.query("SELECT count() AS conflicts FROM conflicts")[0]
    return int(str(row["conflicts"]))


def refused_deliveries(settings: KafkaSettings) -> Iterator[tuple[DeadLetter, str]]:
    """Open dead letters of `received` with the delivery id that their own headers carry."""
    for letter in dead_letters(settings, [RECEIVED.dlq_name]):
        if letter.is_redriven:
            continue
        ids = [value.decode() for name, value in letter.headers if name == "ce_id"]
        yield letter, ids[0] if ids else ""


def manifest_of(store: ObjectStore, stored: StoredObject) -> tuple[InstanceReceived, ...]:
    """The members' events that a pack carries, by two range reads.

    Raises PackFormatError (not a pack, or a damaged one), RetryableError.
    """
    tail_offset = max(stored.size_bytes - LOCATOR_TAIL_BYTES, 0)
    locator = parse_locator(store.read(stored.key, tail_offset, LOCATOR_TAIL_BYTES))
    manifest = store.read(stored.key, locator.manifest_offset_bytes, locator.manifest_length_bytes)
    return parse_manifest(manifest, locator)


def _members(store: ObjectStore, stored: StoredObject) -> Iterator[ArchivedMember]:
    for event in manifest_of(store, stored):
        yield ArchivedMember(
            object_key=stored.key,
            content=(event.content.sop_instance_uid, event.content.content_sha256),
            delivery_id=event.delivery_id,
            received_at=event.received_at.astimezone(UTC),
            size_bytes=event.size_bytes,
        )


def contents(members: Iterable[ArchivedMember]) -> set[Content]:
    """The distinct contents of members."""
    return {member.content for member in members}
