"""Copies every pack to the second site, verifies it there, and indexes it there.

Invariant: a pack counts as replicated only when its bytes were read back from the second site's
store with the sha256 of its key and the second site's index was written from that copy; a pack
that cannot be read at the first site holds the line, it is never skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from consumers.announce import Announcer, Custody, Deadline, custody_members
from consumers.index_writer import IndexWriter
from consumers.scratch import Scratch, read_range
from consumers.spec import BatchLimits, ConsumerSpec, Record, Rejection
from contracts.events import (
    CustodyState,
    InstanceReceived,
    PackArchived,
    PackReplicated,
)
from contracts.failures import PoisonError, Reason, RetryableError
from contracts.identity import is_sha256, record_key
from contracts.pack_reading import PackContents, PackFormatError, read_pack
from contracts.packs import ARCHIVED_AT_METADATA, object_key
from contracts.topics import PACK_ARCHIVED
from infra.connect import Engines

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

Archived = Record[PackArchived]


@dataclass(frozen=True, slots=True)
class _Copied:
    """A pack that is verified at the second site, and what its own manifest tells."""

    archived: PackArchived
    replicated: PackReplicated
    events: tuple[InstanceReceived, ...]


class DrReplica:
    """The writer of `dr-replica`; one pack is on the scratch disk at a time."""

    def __init__(self, engines: Engines) -> None:
        self._source = engines.primary.object_store
        self._site = engines.dr.name
        self._target = engines.dr.object_store
        self._index = IndexWriter(engines.dr.database, engines.clock)
        self._clock = engines.clock
        self._metrics = engines.metrics
        self._announcer = Announcer(engines.publisher, engines.clock)
        self._scratch = Scratch(engines.scratch_directory)

    def write(self, batch: Sequence[Archived]) -> Sequence[Rejection]:
        """On return each pack is at the second site, verified, indexed and announced.

        Raises RetryableError (also for a pack that the first site does not have), PoisonError (a
        value the index refuses), FatalError.
        """
        deadline = Deadline(self._clock, LIMITS.write_deadline_s, "replicating a batch")
        self._announcer.forget()
        rejections: list[Rejection] = []
        waiting: list[_Copied] = []
        for record in {record.event.object_key: record for record in batch}.values():
            deadline.check()
            try:
                waiting.append(self._copy(record.event))
            except PoisonError as refused:
                rejections.append(Rejection(record, refused.reason, refused.detail))
            if sum(len(copied.events) for copied in waiting) >= INDEXED_TOGETHER_MAX:
                self._finish(waiting)
                waiting = []
        self._finish(waiting)
        self._announcer.wait()
        return rejections

    def tick(self) -> None:
        """Nothing is due between batches."""

    def close(self) -> None:
        """Nothing is held between batches."""

    def _copy(self, archived: PackArchived) -> _Copied:
        """Raises PoisonError (no pack, or other bytes than its key says), RetryableError."""
        if not _is_own_key(archived):
            raise PoisonError(Reason.INVALID_FIELD, "object_key does not follow from the sha256")
        with self._scratch.file("copy.tar") as path:
            if self._target.head(archived.object_key) is None:
                self._transfer(archived, path)
            contents = self._verify(archived, path)
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

    def _transfer(self, archived: PackArchived, path: Path) -> None:
        try:
            sha256 = self._scratch.fill(path, self._source.open(archived.object_key))
        except KeyError as cause:
            raise RetryableError(
                f"replicating {archived.object_key}: the first site's bucket does not have it"
            ) from cause
        if sha256 != archived.object_sha256:
            raise PoisonError(
                Reason.CONTENT_MISMATCH, "the first site's object has another sha256 than its key"
            )
        metadata = {ARCHIVED_AT_METADATA: archived.archived_at.isoformat()}
        self._target.put_file(archived.object_key, path, archived.object_sha256, metadata)

    def _verify(self, archived: PackArchived, path: Path) -> PackContents:
        """Reads the copy back whole: what counts is what the second site gives out."""
        try:
            sha256 = self._scratch.fill(path, self._target.open(archived.object_key))
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
            with path.open("rb") as file:
                return read_pack(partial(read_range, file), path.stat().st_size)
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
)
