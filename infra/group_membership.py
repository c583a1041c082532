"""How one process is a member of its consumer group: under which name, and how it leaves.

Invariant: the library's rebalance callbacks only note, on its I/O thread, that the assignment
changed. A member with a name (KIP-345) is told from its predecessor by the broker: started again
it takes its share over at once, and two processes under one name are never both in the group.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kafka import errors as kafka_errors
from kafka.consumer.subscription_state import ConsumerRebalanceListener

# A member that was killed is missed after this; until then its partitions wait, unless a process
# of the same name comes back for them.
SESSION_TIMEOUT_MS = 10_000
HEARTBEAT_INTERVAL_MS = 2_500

LOST_MEMBERSHIP: tuple[type[Exception], ...] = (
    kafka_errors.CommitFailedError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
)


def membership_options(group: str, member: str | None, poll_interval_ms_max: int) -> dict[str, Any]:
    """What a consumer joins its group with. `member` None: a member without a name."""
    named = {} if member is None else {"group_instance_id": member}
    return {
        "group_id": group,
        "max_poll_interval_ms": poll_interval_ms_max,
        "session_timeout_ms": SESSION_TIMEOUT_MS,
        "heartbeat_interval_ms": HEARTBEAT_INTERVAL_MS,
        **named,
    }


def leave_when_closed(consumer: Any) -> None:
    """Makes `close` tell the coordinator, as it does for a member without a name.

    kafka-python (3.0.12) lets a named member's session run out instead: its partitions would wait
    10 s at each orderly stop, and `hilum replay` for a group without members. There is no public
    way to leave at once.
    """
    consumer._coordinator.is_dynamic_member = lambda: True


class AssignmentNotes(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes on the library's I/O thread that the assignment changed, and does nothing else."""

    def __init__(self) -> None:
        self._is_changed = False
        self.has_joined = False

    def take_change(self) -> bool:
        """Whether anything changed since the last call."""
        changed, self._is_changed = self._is_changed, False
        return changed

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """The group rebalances."""
        self._is_changed = True
        self.has_joined = False

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """This member has its share."""
        self._is_changed = True
        self.has_joined = True

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """The group went on without this member."""
        self._is_changed = True
        self.has_joined = False
