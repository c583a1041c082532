"""`hilum replay --consumer`: lets a consumer read history again.

Invariant: offsets only go back, and only of consumers whose writing is keyed by what is in the
records; the archive's history is the bucket, so the archive is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from consumers.catalog import CATALOG, spec_of
from consumers.object_archive import SPEC as OBJECT_ARCHIVE
from contracts.failures import FatalError
from infra.group_offsets import GroupOffsets
from infra.partitions import Partition
from infra.settings import Settings
from operations.replay.stopped import consumer_stopped

BEGINNING = "beginning"
# Whose rows and objects are keyed by what is in the records, so that a repetition is no change.
REPEATABLE = ("metadata-index", "usage-analytics", "dr-replica")


@dataclass(frozen=True, slots=True)
class RewoundTopic:
    """One topic: how many records will be read again, from how many partitions."""

    topic: str
    partitions: int
    records: int


@dataclass(frozen=True, slots=True)
class Rewound:
    """The keys of `hilum replay --consumer --json`."""

    ok: bool
    consumer: str
    since: datetime | None
    is_dry_run: bool
    topics: tuple[RewoundTopic, ...]


def parse_since(text: str) -> datetime | None:
    """`beginning`, or a time in ISO 8601 (UTC where it names no zone). Raises FatalError."""
    if text == BEGINNING:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise FatalError(
            f"{text!r} is no time", f"write {BEGINNING}, or a time like 2026-03-05T12:00:00"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def rewind(
    settings: Settings,
    consumer: str,
    since: datetime | None,
    is_dry_run: bool,
    state_directory: Path | None,
    *,
    tell: Callable[[str], None],
) -> Rewound:
    """On return the consumer goes on from the first records at or after `since`.

    With `is_dry_run` nothing is changed and the consumer may run. Raises FatalError (unknown,
    refused, or running), RetryableError.
    """
    topics = _topics_of(consumer)
    group = GroupOffsets(settings.kafka, consumer, topics)
    try:
        wanted = group.offsets_from(since)
        if is_dry_run:
            committed = group.committed()
            back = {at: o for at, o in wanted.items() if o < committed.get(at, 0)}
        else:
            with consumer_stopped(consumer, group, state_directory, tell):
                committed = group.committed()
                back = group.set_back(wanted)
    finally:
        group.close()
    told = tuple(_told(topic, back, committed) for topic in topics)
    return Rewound(True, consumer, since, is_dry_run, told)


def _topics_of(consumer: str) -> list[str]:
    names = [spec.name for spec in CATALOG]
    if consumer not in names:
        raise FatalError(f"no consumer {consumer!r}", f"there is: {', '.join(names)}")
    if consumer == OBJECT_ARCHIVE.name:
        raise FatalError(
            "the history of object-archive is the bucket: payload is gone after hours",
            "see `hilum dlq redrive` for what it refused",
        )
    if consumer not in REPEATABLE:
        raise FatalError(
            f"{consumer} does not read history again", f"that do: {', '.join(REPEATABLE)}"
        )
    return [topic.name for topic in spec_of(consumer).inputs]


def _told(topic: str, back: dict[Partition, int], committed: dict[Partition, int]) -> RewoundTopic:
    own = {at: offset for at, offset in back.items() if at.topic == topic}
    return RewoundTopic(topic, len(own), sum(committed[at] - o for at, o in own.items()))
