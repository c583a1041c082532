"""The forwarder's side of all spools of a gateway, as if they were one.

Invariant: a segment's number tells its directory, `SEGMENTS_EACH` numbers for each worker, so a
location in the ledger names one record of one directory, and those of worker 1 are what they are
in a gateway of one process. A directory is drained whether or not its worker runs. Must not write
but what `SpoolReleaser` does.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from edge_gateway.spool.body import SpoolBody
from edge_gateway.spool.entry import Entry, SpooledDelivery
from edge_gateway.spool.errors import (
    SpoolCorrupt,
    SpoolEntryGone,
    SpoolError,
    SpoolLocked,
    translate,
)
from edge_gateway.spool.family import (
    FIRST_WORKER,
    FURTHER_DIRECTORY,
    measure_all,
    require_same_gateway,
    worker_directories,
)
from edge_gateway.spool.filesystem import FileSystem
from edge_gateway.spool.layout import (
    OBJECT_SUFFIX,
    REMNANT_SUFFIX,
    SpoolLayout,
    take_lock,
)
from edge_gateway.spool.limits import FREE_SEGMENTS_MAX, Usage
from edge_gateway.spool.location import RecordLocation, SpoolPosition, SpoolRecord
from edge_gateway.spool.reader import SpoolReader
from edge_gateway.spool.reading_around import ReadingAround
from edge_gateway.spool.release import SpoolReleaser

# A segment's name has ten digits.
SEGMENTS_EACH = 10**10
DRAINED_SUFFIX = ".drained"


def first_number(worker: int) -> int:
    """What is added to the numbers of a worker's segments; 0 for worker 1."""
    return (worker - FIRST_WORKER) * SEGMENTS_EACH


def worker_of(segment: int) -> int:
    """Whose a segment's number is."""
    return segment // SEGMENTS_EACH + FIRST_WORKER


class WorkerReader(SpoolReader):
    """Follows one worker's spool; positions and locations are those of the whole gateway."""

    def __init__(self, directory: Path, worker: int, *, fs: FileSystem | None = None) -> None:
        super().__init__(directory, fs=fs)
        self.worker = worker
        self._first = first_number(worker)

    @property
    def first_segment(self) -> int:
        """No segment of this spool has a lower number."""
        return self._first

    @property
    def position(self) -> SpoolPosition:
        """Behind the last record that `poll` gave."""
        return self._shifted(super().position, self._first)

    def seek(self, position: SpoolPosition) -> None:
        """The next `poll` begins there; only positions that this class gave."""
        super().seek(self._shifted(position, -self._first))

    def poll(self, records_max: int) -> list[SpoolRecord]:
        """As `SpoolReader.poll`."""
        records = super().poll(records_max)
        return records if self._first == 0 else [self._record(record) for record in records]

    def skip_damaged(self) -> SpoolPosition:
        """As `SpoolReader.skip_damaged`."""
        return self._shifted(super().skip_damaged(), self._first)

    def remnant(self, delivery_id: str) -> SpoolRecord:
        """As `SpoolReader.remnant`."""
        return self._record(super().remnant(delivery_id))

    def _record(self, record: SpoolRecord) -> SpoolRecord:
        return SpoolRecord(
            record.entry,
            _moved(record.location, self._first),
            self._shifted(record.following, self._first),
        )

    def _shifted(self, position: SpoolPosition, by: int) -> SpoolPosition:
        return replace(position, segment_number=position.segment_number + by) if by else position


@dataclass(frozen=True, slots=True)
class _Member:
    layout: SpoolLayout
    reader: SpoolReader
    releaser: SpoolReleaser


class SpoolSet:
    """Holds forward.lock of every spool of a gateway; a context manager. Used by one thread.

    Raises SpoolLocked when another forwarder holds one.
    """

    def __init__(
        self, gateway_directory: Path, *, workers: int = 1, fs: FileSystem | None = None
    ) -> None:
        self.directory = gateway_directory
        self._fs = fs
        self._workers = workers
        self._members: dict[int, _Member] = {}
        try:
            self._open(FIRST_WORKER, gateway_directory)
            self._remove_drained()
            self.look()
        except SpoolError:
            self.close()
            raise

    def look(self) -> list[int]:
        """The workers whose directories have come since the last look, now members as well.

        Raises SpoolLocked, SpoolCorrupt, SpoolMismatch (a directory of another gateway).
        """
        found = worker_directories(self._fs or ReadingAround(), self.directory)
        fresh = [worker for worker in sorted(found) if worker not in self._members]
        return [worker for worker in fresh if self._open(worker, found[worker])]

    @property
    def workers(self) -> list[int]:
        """The members, by their numbers."""
        return sorted(self._members)

    def follower(self, worker: int) -> WorkerReader:
        """A reader of its own on one member's log."""
        return WorkerReader(self._members[worker].layout.directory, worker, fs=self._fs)

    def entry_at(self, location: RecordLocation) -> Entry:
        """As `SpoolReader.entry_at`."""
        member, local = self._find(location)
        return member.reader.entry_at(local)

    def open_body(self, delivery: SpooledDelivery, location: RecordLocation) -> SpoolBody:
        """As `SpoolReader.open_body`."""
        member, local = self._find(location)
        return member.reader.open_body(delivery, local)

    def segment_numbers(self) -> list[int]:
        """The segments that exist in all members, ascending."""
        return [
            first_number(worker) + number
            for worker in self.workers
            for number in self._members[worker].reader.segment_numbers()
        ]

    def delivery_ids_of_files(self) -> list[str]:
        """The deliveries that have a file of their own."""
        fs = self._fs or ReadingAround()
        names = [
            name for member in self._members.values() for name in fs.names(member.layout.objects)
        ]
        return [name.removesuffix(OBJECT_SUFFIX).removesuffix(REMNANT_SUFFIX) for name in names]

    def usage(self) -> Usage:
        """What all of them occupy now."""
        return measure_all(self._fs or FileSystem(), self.directory)

    def copy_forward(self, delivery: SpooledDelivery, location: RecordLocation) -> RecordLocation:
        """As `SpoolReleaser.copy_forward`; it stays in its own directory."""
        member, local = self._find(location)
        copied = member.releaser.copy_forward(delivery, local)
        return _moved(copied, location.segment_number - local.segment_number)

    def purge(self, delivery_id: str) -> None:
        """As `SpoolReleaser.purge`, wherever its file is."""
        for member in self._members.values():
            member.releaser.purge(delivery_id)

    def release_segment(self, number: int, *, free_max: int = FREE_SEGMENTS_MAX) -> None:
        """As `SpoolReleaser.release_segment`; where no worker writes any more none is kept free."""
        worker = worker_of(number)
        kept_max = free_max if worker <= self._workers else 0
        local = number - first_number(worker)
        self._members[worker].releaser.release_segment(local, free_max=kept_max)

    def left_workers(self) -> list[int]:
        """Members whose worker is gone for good: the count is lower."""
        return [worker for worker in self.workers if worker > self._workers]

    def retire(self, worker: int, position: SpoolPosition) -> bool:
        """Takes a left member's directory away; False where something is in it that was not read.

        `position`: everything before it is in the ledger, and the caller's promise that nothing of
        it is needed any more is flushed. Raises SpoolFull or SpoolBroken.
        """
        member = self._members[worker]
        directory = member.layout.directory
        try:
            held = take_lock(member.layout.receiver_lock, "receiver")
        except SpoolLocked:
            return False
        try:
            if self._has_more(worker, position):
                return False
            # By another name it is no spool any more, whatever comes between.
            aside = directory.with_name(directory.name + DRAINED_SUFFIX)
            fs = self._fs or ReadingAround()
            fs.rename(directory, aside)
            fs.flush_directory(directory.parent)
        except OSError as error:
            raise translate(error, f"removing {directory}") from error
        finally:
            os.close(held)
        del self._members[worker]
        member.reader.close()
        member.releaser.close()
        shutil.rmtree(aside, ignore_errors=True)
        return True

    def close(self) -> None:
        """Lets go of files and locks."""
        for member in self._members.values():
            member.reader.close()
            member.releaser.close()
        self._members = {}

    def __enter__(self) -> SpoolSet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _remove_drained(self) -> None:
        """What a kill left of a directory that was being taken away."""
        further = self.directory / FURTHER_DIRECTORY
        for name in (self._fs or ReadingAround()).names(further):
            if name.endswith(DRAINED_SUFFIX):
                shutil.rmtree(further / name, ignore_errors=True)

    def _open(self, worker: int, directory: Path) -> bool:
        """Makes it a member; False where it is not whole yet: it has no identity."""
        reader = SpoolReader(directory, fs=self._fs)
        if worker != FIRST_WORKER:
            identity, own = reader.identity(), self._members[FIRST_WORKER].reader.identity()
            if identity is None or own is None:
                return False
            require_same_gateway(identity, own, directory)
        releaser = SpoolReleaser(directory, fs=self._fs)
        self._members[worker] = _Member(SpoolLayout(directory), reader, releaser)
        return True

    def _has_more(self, worker: int, position: SpoolPosition) -> bool:
        layout, fs = self._members[worker].layout, self._fs or ReadingAround()
        # What was damaged is kept for a person.
        if fs.names(layout.objects) or fs.names(layout.damaged):
            return True
        reader = self.follower(worker)
        reader.seek(position)
        try:
            return bool(reader.poll(1)) or reader.is_before_damage
        except SpoolCorrupt:
            return True
        finally:
            reader.close()

    def _find(self, location: RecordLocation) -> tuple[_Member, RecordLocation]:
        worker = worker_of(location.segment_number)
        member = self._members.get(worker)
        if member is None:
            raise SpoolEntryGone(f"worker {worker} has no spool any more")
        return member, _moved(location, -first_number(worker))


def _moved(location: RecordLocation, by: int) -> RecordLocation:
    return replace(location, segment_number=location.segment_number + by) if by else location
