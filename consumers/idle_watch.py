"""Noticing a partition that has records and is not read.

Invariant: only time spent asking for records counts; a long write or a back-off is no idleness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.partitions import Partition, Span

IDLE_S_MAX = 30.0


@dataclass(frozen=True, slots=True)
class _Seen:
    position: int
    polling_s: float


class IdleWatch:
    """The last movement of each partition, against the time its consumer spent polling."""

    def __init__(self) -> None:
        self._seen: dict[Partition, _Seen] = {}

    def look(self, spans: Mapping[Partition, Span], polling_s: float) -> float:
        """Seconds of polling since the stillest partition with records ahead moved."""
        self._seen = {
            partition: self._seen_now(partition, span, polling_s)
            for partition, span in spans.items()
        }
        idle = [polling_s - seen.polling_s for seen in self._seen.values()]
        return max(idle, default=0.0)

    def _seen_now(self, partition: Partition, span: Span, polling_s: float) -> _Seen:
        before = self._seen.get(partition)
        if before is None or before.position != span.position or span.position >= span.end:
            return _Seen(span.position, polling_s)
        return before
