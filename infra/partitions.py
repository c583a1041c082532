"""Partitions and offsets as values: what the runner and its group member talk about.

Invariant: topics are known by their plain names here; no client library's type is one of these.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.failures import FatalError


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition of a topic, by its plain name."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Span:
    """A partition's position (what is read next) and its log's end."""

    position: int
    end: int


def require_history(group: str, partition: Partition, offset: int, there: range) -> None:
    """Raises FatalError unless `offset` is in the log, whose offsets (and end) are `there`."""
    if offset not in there:
        raise FatalError(
            f"group {group} stands at {offset} of {partition.topic}/{partition.number}, which has "
            f"{there.start} to {there.stop - 1}: history is missing",
            "rebuild what this consumer writes with `hilum replay`",
        )
