"""Writing one batch of records: in groups that fit the live segment, each with one flush.

Invariant: a record is finished without an error only after the flush that covers it returned; what
is not written is handed back, in order, with the reason. Must not know who waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from edge_gateway.spool.errors import SpoolBroken, SpoolFull
from edge_gateway.spool.log import SpoolLog
from edge_gateway.spool.pending import Pending


def write_batch(
    log: SpoolLog, batch: Sequence[Pending]
) -> tuple[list[Pending], SpoolFull | SpoolBroken | None]:
    """What is left, not finished, and why; nothing and None where all is flushed."""
    rest = deque(batch)
    while rest:
        group = _fitting(log, rest)
        try:
            if group:
                log.write(group)
            else:
                log.roll_over()
        except (SpoolFull, SpoolBroken) as error:
            return [*group, *rest], error
        for pending in group:
            pending.finish(None)
    return [], None


def _fitting(log: SpoolLog, rest: deque[Pending]) -> list[Pending]:
    group: list[Pending] = []
    room_bytes = log.room_bytes
    while rest and rest[0].size_bytes <= room_bytes:
        group.append(rest.popleft())
        room_bytes -= group[-1].size_bytes
    return group
