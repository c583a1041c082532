"""`hilum replay --into shadow`: fill the shadow, compare it, and put it in place if asked.

Invariant: what is put in place has everything that the index's consumer has committed, and that
consumer goes on from what it had committed before; so nothing is lost between the two.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from consumers import dr_replica, metadata_index, object_archive
from consumers.spec import ConsumerSpec
from contracts.failures import FatalError, RetryableError
from contracts.topics import RECEIVED
from infra.clickhouse import ClickHouseDatabase
from infra.connect import Engines
from infra.group_offsets import GroupOffsets
from infra.partitions import Partition
from infra.settings import SiteSettings
from operations.replay import swap as swapping
from operations.replay.difference import ViewDifference, difference
from operations.replay.filling import BATCH_RECORDS_MAX, Filler, Tell
from operations.replay.from_bucket import FromBucket
from operations.replay.from_topics import FromTopics, read_on, source_name
from operations.replay.kinds import BUCKET, TOPICS, Kind
from operations.replay.shadow import Shadow
from operations.replay.stopped import Stopped, consumer_stopped

LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class RebuildOptions:
    """What the command's options say. `state_directory` is a local stack's, None for another."""

    site: str = "primary"
    from_bucket: bool = False
    swap: bool = False
    accept_differences: bool = False
    restart: bool = False
    wait_s: float = 60.0
    state_directory: Path | None = None
    batch_records_max: int = BATCH_RECORDS_MAX


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The keys of `hilum replay --into shadow --json`."""

    ok: bool
    site: str
    source: str
    shadow: str
    records: int = 0
    instances: int = 0
    refused: int = 0
    seconds: float = 0.0
    instances_per_s: float = 0.0
    unreadable_packs: tuple[str, ...] = ()
    views: tuple[ViewDifference, ...] = ()
    left_out: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    is_swapped: bool = False
    kept_as: str = ""
    kept: tuple[str, ...] = ()


class Source(Protocol):
    """What a shadow is filled from."""

    def catch_up(self, filler: Filler) -> tuple[str, ...]:
        """On return the shadow has all that the source had at the call; what was unreadable."""


def rebuild(engines: Engines, options: RebuildOptions, tell: Tell) -> Rebuilt:
    """Fills (or goes on filling) the shadow, compares, swaps if asked; finishes a swap cut off.

    Raises FatalError (wrong site, a history that is not whole, the writer runs), RetryableError.
    """
    shadow = Shadow(_settings_of(engines, options.site).clickhouse)
    spec = metadata_index.SPEC if options.site == "primary" else dr_replica.SPEC
    group = GroupOffsets(engines.settings.kafka, spec.name, [t.name for t in spec.inputs])
    work = _Rebuild(engines, options, shadow, spec, group, tell=tell)
    try:
        if swapping.read_journal(shadow) is not None:
            return work.finish_swap()
        if options.restart:
            shadow.drop()
        return work.run()
    finally:
        group.close()
        shadow.close()


def drop_kept(engines: Engines, site: str, database: str) -> None:
    """Removes the shadow of a site's index, or an index that a swap kept.

    Raises FatalError for any other name, and while a swap is under way.
    """
    shadow = Shadow(_settings_of(engines, site).clickhouse)
    try:
        if swapping.read_journal(shadow) is not None:
            raise FatalError(
                f"a swap with {shadow.name} has begun", "finish it: repeat it with --swap"
            )
        shadow.drop(database)
    finally:
        shadow.close()


class _Rebuild:
    """One run of the command."""

    def __init__(
        self,
        engines: Engines,
        options: RebuildOptions,
        shadow: Shadow,
        spec: ConsumerSpec,
        group: GroupOffsets,
        *,
        tell: Tell,
    ) -> None:
        self._engines = engines
        self._options = options
        self._shadow = shadow
        self._spec = spec
        self._group = group
        self._tell = tell
        self._kind: Kind = BUCKET if options.from_bucket else TOPICS
        if options.site == "dr" and not options.from_bucket:
            raise FatalError(
                "the second site's index follows from its packs and not from the topics",
                "add --from-bucket",
            )

    def run(self) -> Rebuilt:
        name, source = self._source()
        self._shadow.open(name)
        filler = self._filler(self._shadow.database)
        try:
            unreadable = source.catch_up(filler)
            answer = Rebuilt(
                False,
                self._options.site,
                name,
                self._shadow.name,
                records=filler.tally.records,
                instances=filler.tally.instances,
                seconds=round(filler.seconds(), 3),
                instances_per_s=round(filler.rate(), 1),
                left_out=self._kind.left_out,
            )
            if self._options.swap:
                answer = self._swap(answer, source, filler)
            else:
                views, unreadable = self._settle(source, filler)
                answer = replace(answer, views=views, unreadable_packs=unreadable)
            is_good = _is_equal(answer) or answer.is_swapped
            kept = tuple(self._shadow.kept())
            return replace(answer, ok=is_good, refused=filler.tally.refused, kept=kept)
        finally:
            filler.close()

    def finish_swap(self) -> Rebuilt:
        """A swap that was cut off; nothing else may be done with this shadow."""
        if not self._options.swap:
            raise FatalError(
                f"a swap with {self._shadow.name} has begun", "repeat the command with --swap"
            )
        journal = swapping.read_journal(self._shadow)
        assert journal is not None
        with self._stopped() as stopped:
            self._exchange(journal, stopped)
        name = "a swap that had begun"
        answer = Rebuilt(True, self._options.site, name, self._shadow.name, is_swapped=True)
        return replace(answer, kept_as=journal.kept_as, kept=tuple(self._shadow.kept()))

    def _swap(self, answer: Rebuilt, source: Source, filler: Filler) -> Rebuilt:
        self._wait_for_lag()
        with self._stopped() as stopped:
            offsets = self._offsets_to_go_on_from()
            self._level()
            views, unreadable = self._settle(source, filler)
            answer = replace(answer, views=views, unreadable_packs=unreadable)
            if not _is_equal(answer) and not self._options.accept_differences:
                return answer
            stopped.may_start = False
            journal = swapping.begin(self._shadow, self._kind, offsets, self._tell)
            self._exchange(journal, stopped)
        return replace(answer, is_swapped=True, kept_as=journal.kept_as)

    def _exchange(self, journal: swapping.Journal, stopped: Stopped) -> None:
        stopped.may_start = False
        swapping.finish(self._shadow, journal, self._tell)
        # Whoever consumed while a swap was cut off wrote into tables of both: again from before.
        self._group.set_back(journal.offsets)
        self._shadow.drop()
        stopped.may_start = True

    def _offsets_to_go_on_from(self) -> dict[Partition, int]:
        """What the consumer has committed; of deliveries in no pack yet, from their first record.

        The archive's commits say up to where each delivery is in the bucket, or refused.
        """
        committed = self._group.committed()
        if self._kind.is_whole or self._spec.name != metadata_index.SPEC.name:
            return committed
        archive = GroupOffsets(
            self._engines.settings.kafka, object_archive.SPEC.name, [RECEIVED.name]
        )
        try:
            archived = archive.committed()
        finally:
            archive.close()
        return {
            at: min(offset, archived.get(at, 0)) if at.topic == RECEIVED.name else offset
            for at, offset in committed.items()
        }

    def _level(self) -> None:
        """Brings the index in use to what the shadow may have seen already; it is stopped.

        Its consumer will write the same once more, which changes nothing.
        """
        committed = self._group.committed()
        if self._spec.name != metadata_index.SPEC.name or not committed:
            return
        live = ClickHouseDatabase(_settings_of(self._engines, self._options.site).clickhouse)
        filler = self._filler(live)
        try:
            read_on(self._engines.settings.kafka, committed, filler)
        finally:
            filler.close()
            live.close()

    def _settle(
        self, source: Source, filler: Filler
    ) -> tuple[tuple[ViewDifference, ...], tuple[str, ...]]:
        """The difference once both sides stand still, or as it is after `wait_s`."""
        until = time.monotonic() + self._options.wait_s
        before: tuple[ViewDifference, ...] | None = None
        while True:
            self._tell("comparing")
            unreadable = source.catch_up(filler)
            names = (self._shadow.live_name, self._shadow.name)
            views = tuple(difference(self._shadow.database, *names, self._kind))
            is_equal = all(view.is_equal for view in views)
            if is_equal or time.monotonic() > until or (views == before and self._is_idle()):
                return views, unreadable
            before = views
            time.sleep(LOOK_S)

    def _wait_for_lag(self) -> None:
        until = time.monotonic() + self._options.wait_s
        while self._group.members() and (lag := self._group.lag()):
            if time.monotonic() > until:
                return  # what it has not read, `_level` reads
            self._tell(f"waiting for {self._spec.name}: {lag} records")
            time.sleep(LOOK_S)

    def _is_idle(self) -> bool:
        """Whether waiting would change nothing; a bucket is compared without a bus, too."""
        try:
            return self._group.members() == 0 or self._group.lag() == 0
        except RetryableError:
            return self._options.from_bucket

    def _stopped(self) -> AbstractContextManager[Stopped]:
        return consumer_stopped(
            self._spec.name, self._group, self._options.state_directory, self._tell
        )

    def _source(self) -> tuple[str, Source]:
        if self._options.from_bucket:
            at_primary = self._options.site == "primary"
            site = self._engines.primary if at_primary else self._engines.dr
            return f"bucket {site.object_store.bucket}", FromBucket(site, self._shadow)
        kafka = self._engines.settings.kafka
        return source_name(kafka), FromTopics(kafka, self._shadow)

    def _filler(self, database: ClickHouseDatabase) -> Filler:
        return Filler(self._engines, database, self._tell, self._options.batch_records_max)


def _settings_of(engines: Engines, site: str) -> SiteSettings:
    return engines.settings.primary if site == "primary" else engines.settings.dr


def _is_equal(answer: Rebuilt) -> bool:
    return not answer.unreadable_packs and all(view.is_equal for view in answer.views)
