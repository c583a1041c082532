"""Copies every pack to the second site, verifies it there, and indexes it there.

Invariant: a pack counts as replicated only when its bytes were read back from the second site's
store with the sha256 of its key and the second site's index was written from those bytes; a pack
that cannot be read at the first site holds the line. It is skipped only where the first site's
bucket has the record of its collection: then packs of smaller keys hold all that it held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from consumers.announce import Announcer, Custody, Deadline, custody_members
from consumers.held_pack import HeldPack, InMemory, OnDisk, sha256_of
from consumers.index_writer import IndexWriter
from consumers.scratch import Scratch
from consumers.spec import BatchLimits, ConsumerSpec, Record, Rejection
from consumers.transfers import Transfers
from contracts.events import (
    CustodyState,
    InstanceReceived,
    PackArchived,
    PackReplicated,
)
from contracts.failures import PoisonError, Reason, RetryableError
from contracts.identity import is_sha256, record_key
from contracts.pack_reading import PackContents, PackFormatError
from contracts.pack_records import collected_key
from contracts.packs import ARCHIVED_AT_METADATA, object_key
from contracts.topics import PACK_ARCHIVED
from infra.connect import Engines
from infra.telemetry import logger

MIB = 1024 * 1024
LIMITS = BatchLimits(
    records_max=200,
    bytes_max=256 * MIB,
    age_ms_max=1_000,
    poll_interval_ms_max=3_600_000,
    write_deadline_s=25 * 60.0,
)
# Headers of this many instances wait in memory for one insert: single packs would be an insert
# each, which ClickHouse answers with "too many parts".
INDEXED_TOGETHER_MAX = 2_000
# A download with other bytes is repeated at once: a line that flips one bit in many gigabytes has
# given the right ones by then, and an object that rotted the same wrong ones twice.
DOWNLOADS_MAX = 3

Archived = Record[PackArchived]

_log = logger("dr-replica")


@dataclass(frozen=True, slots=True)
class _Copied:
    """A pack that is verified at the second site, and what its own manifest tells."""

    archived: PackArchived
    replicated: PackReplicated
    events: tuple[InstanceReceived, ...]


@dataclass(frozen=True, slots=True)
class _Collected:
    """A pack that the first site has collected since: there is nothing to do."""

    object_key: str


_Done = _Copied | Rejection | _Collected


@dataclass(slots=True)
class _Gathered:
    """What a batch has come to so far; `copied` waits for the index."""

    copied: list[_Copied] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)


class DrReplica:
    """The writer of `dr-replica`: a few packs side by side in memory.

    One that the memory set aside for packs never holds goes by the scratch disk, one at a time.
    """

    def __init__(self, engines: Engines) -> None:
        self._source = engines.primary.object_store
        self._site = engines.dr.name
        self._target = engines.dr.object_store
        self._index = IndexWriter(engines.dr.database, engines.clock)
        self._clock = engines.clock
        self._metrics = engines.metrics
        self._announcer = Announcer(engines.publisher, engines.clock)
        self._scratch = Scratch(engines.scratch_directory)
        settings = engines.settings.consumer(SPEC.name)
        self._transfers: Transfers[_Done] = Transfers(settings)

    def write(self, batch: Sequence[Archived]) -> Sequence[Rejection]:
        """On return each pack is at the second site, verified, indexed and announced.

        Raises RetryableError (also for a pack that the first site does not have), PoisonError (a
        value the index refuses), FatalError.
        """
        deadline = Deadline(self._clock, LIMITS.write_deadline_s, "replicating a batch")
        self._announcer.forget()
        gathered = _Gathered()
        try:
            for record in {record.event.object_key: record for record in batch}.values():
                deadline.check()
                self._begin(record, gathered)
            for done in self._transfers.rest():
                self._take(done, gathered)
                deadline.check()
        finally:
            self._transfers.abandon()
        self._finish(gathered.copied)
        self._announcer.wait()
        return gathered.rejections

    def tick(self) -> None:
        """Nothing is due between batches."""

    def close(self) -> None:
        """Nothing is held between batches but threads."""
        self._transfers.close()

    def _begin(self, record: Archived, gathered: _Gathered) -> None:
        """Starts the copy in memory, or makes it on the scratch disk now."""
        size = max(record.event.object_size_bytes, 0)
        if not self._transfers.has_room_for(size):
            with self._scratch.file("copy.tar") as path:
                self._take(self._try(record, OnDisk(self._scratch, path)), gathered)
            return
        for done in self._transfers.make_room(size):
            self._take(done, gathered)
        self._transfers.start(size, partial(self._try, record, InMemory(size)))

    def _take(self, done: _Done, gathered: _Gathered) -> None:
        if isinstance(done, Rejection):
            gathered.rejections.append(done)
            return
        if isinstance(done, _Collected):
            _log.info("collected at the first site", object_key=done.object_key)
            return
        gathered.copied.append(done)
        if sum(len(copied.events) for copied in gathered.copied) >= INDEXED_TOGETHER_MAX:
            self._finish(gathered.copied)
            gathered.copied = []

    def _try(self, record: Archived, held: HeldPack) -> _Done:
        """`_copy`, whose refusal is an answer. Runs on any thread."""
        try:
            return self._copy(record.event, held)
        except PoisonError as refused:
            return Rejection(record, refused.reason, refused.detail)

    def _copy(self, archived: PackArchived, held: HeldPack) -> _Copied | _Collected:
        """Raises PoisonError (no pack, or other bytes than its key says), RetryableError."""
        if not _is_own_key(archived):
            raise PoisonError(Reason.INVALID_FIELD, "object_key does not follow from the sha256")
        if self._target.head(archived.object_key) is None and not self._transfer(archived, held):
            return _Collected(archived.object_key)
        contents = self._verify(archived, held)
        replicated = PackReplicated(
            dr_site=self._site,
            bucket=self._target.bucket,
            object_key=archived.object_key,
            area=archived.area,
            object_sha256=archived.object_sha256,
            object_size_bytes=archived.object_size_bytes,
            members=contents.members,
            verified_at=self._clock.now(),
        )
        here = replace(
            archived, site=self._site, bucket=self._target.bucket, members=contents.members
        )
        return _Copied(here, replicated, contents.events)

    def _transfer(self, archived: PackArchived, held: HeldPack) -> bool:
        """Whether the second site's store has it now; False where it was collected."""
        try:
            self._download(archived, held)
        except KeyError as cause:
            if self._source.head(collected_key(archived.object_key)) is not None:
                return False
            raise RetryableError(
                f"replicating {archived.object_key}: the first site's bucket does not have it"
            ) from cause
        metadata = {ARCHIVED_AT_METADATA: archived.archived_at.isoformat()}
        held.put(self._target, archived.object_key, archived.object_sha256, metadata)
        return True

    def _download(self, archived: PackArchived, held: HeldPack) -> None:
        """On return the pack is held. Raises KeyError, RetryableError, PoisonError (damaged)."""
        seen: set[str] = set()
        for _ in range(DOWNLOADS_MAX):
            sha256 = held.fill(self._source.open(archived.object_key))
            if sha256 == archived.object_sha256:
                return
            if sha256 in seen:
                raise PoisonError(
                    Reason.CONTENT_MISMATCH,
                    "the first site's object is not what its event announced",
                )
            seen.add(sha256)
            _log.warning("other bytes came", object_key=archived.object_key, sha256=sha256)
        raise RetryableError(
            f"replicating {archived.object_key}: other bytes came at each of {DOWNLOADS_MAX} "
            "downloads; examine the line to the first site and its machine's memory"
        )

    def _verify(self, archived: PackArchived, held: HeldPack) -> PackContents:
        """Reads the copy back whole: what counts is what the second site gives out.

        What went there is held still, and equal when the sha256 is, so it is not kept twice.
        """
        try:
            there = self._target.open(archived.object_key)
            sha256 = sha256_of(there) if held.is_filled else held.fill(there)
        except KeyError as cause:
            raise RetryableError(
                f"replicating {archived.object_key}: stored at {self._site}, and not there"
            ) from cause
        if sha256 != archived.object_sha256:
            raise RetryableError(
                f"replicating {archived.object_key}: {self._site} gives out other bytes; "
                "remove the damaged object there, it will be copied again"
            )
        try:
            return held.contents()
        except PackFormatError as cause:
            raise PoisonError(Reason.INVALID_FIELD, f"no pack: {cause}") from cause

    def _finish(self, copied: Sequence[_Copied]) -> None:
        """Indexes verified packs at the second site, then announces them."""
        if not copied:
            return
        self._index.write(
            received=[event for pack in copied for event in pack.events],
            archived=[pack.archived for pack in copied],
            replicated=[pack.replicated for pack in copied],
        )
        for pack in copied:
            event = pack.replicated
            self._announcer.publish(event, record_key(event.members[0].content), event.object_key)
            self._announcer.custody(
                Custody(CustodyState.REPLICATED, event.object_key), custody_members(event.members)
            )
            self._metrics.count("hilum_pack_replicated_total")


def _is_own_key(archived: PackArchived) -> bool:
    own_key = object_key(archived.area, archived.object_sha256)
    return is_sha256(archived.object_sha256) and archived.object_key == own_key


def size_bytes(event: PackArchived) -> int:
    """What counts against the batch's bytes: the object."""
    return event.object_size_bytes


SPEC = ConsumerSpec(
    name="dr-replica",
    inputs={PACK_ARCHIVED: PackArchived},
    limits=LIMITS,
    size_bytes=size_bytes,
    build=DrReplica,
    holds_packs=True,
)
