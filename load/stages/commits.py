"""When each consumer group committed which offset, read from Kafka's own topic of commits.

Invariant: a commit is an event with the broker's time, so nothing has to be polled for to know
when a record was done with; what is no offset commit is passed over. Must not commit or change
anything.

Source: `OffsetCommitKey.json` (versions 0 and 1) and `OffsetCommitValue.json` (0 to 4) of Apache
Kafka: every version of the value begins with the offset, and the record's timestamp is the
coordinator's clock at the commit.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from infra.seams import ConsumedRecord

COMMITS_TOPIC = "__consumer_offsets"
_KEY_VERSIONS = (0, 1)
_SHORT = struct.Struct(">h")
_PARTITION = struct.Struct(">i")
_VALUE = struct.Struct(">hq")


@dataclass(frozen=True, slots=True)
class Commit:
    """A group says: everything of this partition below `offset` is done. `at`: epoch seconds."""

    group: str
    topic: str
    partition: int
    offset: int
    at: float


class CommitLog:
    """The commits of a run, by group, topic and partition."""

    def __init__(self) -> None:
        self._commits: dict[tuple[str, str, int], list[Commit]] = defaultdict(list)

    def add(self, commits: Iterable[Commit]) -> None:
        """Takes commits in the order of their partition of the commits' topic.

        One that is not beyond those before it (a member that took over says it again) is dropped.
        """
        for commit in commits:
            known = self._commits[commit.group, commit.topic, commit.partition]
            if not known or commit.offset > known[-1].offset:
                known.append(commit)

    def done_at(self, group: str, topic: str, partition: int, offset: int) -> float | None:
        """When `group` was first known to be done with a record; None while it is not."""
        known = self._commits.get((group, topic, partition), [])
        index = bisect_right(known, offset, key=lambda commit: commit.offset)
        return known[index].at if index < len(known) else None

    def of(self, group: str, topic: str) -> list[Commit]:
        """All commits of a group on a topic, in the order of their time."""
        found = (
            commit
            for (by, on, _), commits in self._commits.items()
            if by == group and on == topic
            for commit in commits
        )
        return sorted(found, key=lambda commit: commit.at)


def commit_of(record: ConsumedRecord, prefix: str) -> Commit | None:
    """The commit in a record, group and topic without `prefix`; None where it is something else.

    A tombstone, a group's membership and a layout that is not known are something else.
    """
    if record.key is None or record.value is None:
        return None
    try:
        (version,) = _SHORT.unpack_from(record.key)
        if version not in _KEY_VERSIONS:
            return None
        group, at = _string(record.key, _SHORT.size)
        topic, at = _string(record.key, at)
        (partition,) = _PARTITION.unpack_from(record.key, at)
        _, offset = _VALUE.unpack_from(record.value)
    except (struct.error, UnicodeDecodeError):
        return None
    if not (group.startswith(prefix) and topic.startswith(prefix)):
        return None
    plain = group.removeprefix(prefix), topic.removeprefix(prefix)
    return Commit(*plain, partition, offset, record.timestamp.timestamp())


def _string(data: bytes, at: int) -> tuple[str, int]:
    (length,) = _SHORT.unpack_from(data, at)
    end = at + _SHORT.size + max(0, length)
    if end > len(data):
        raise struct.error("cut short")
    return data[at + _SHORT.size : end].decode("utf-8"), end
