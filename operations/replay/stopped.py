"""Keeps one consumer stopped while its index or its offsets are changed.

Invariant: the block runs only while the consumer's group has no member; of a local stack exactly
the consumer's own processes are stopped, and they are started again unless the block says not to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.failures import FatalError
from infra.group_offsets import EMPTY_S_MAX, GroupOffsets
from operations.stack_files import exclusive, stack_files
from operations.stack_supervisor import Supervisor


@dataclass(slots=True)
class Stopped:
    """What the block may decide: whether the consumer's processes start again afterwards."""

    may_start: bool = True


@contextmanager
def consumer_stopped(
    name: str, group: GroupOffsets, state_directory: Path | None, tell: Callable[[str], None]
) -> Iterator[Stopped]:
    """Runs a block with the consumer's processes stopped.

    With a `state_directory` the local stack's own processes are stopped and started again;
    without one they must have been stopped by whoever runs them. Raises FatalError while the
    group has members, RetryableError.
    """
    supervisor = None if state_directory is None else _supervisor(state_directory)
    if supervisor is None or state_directory is None:
        _require_left(name, group, 0.0)
        yield Stopped()
        return
    with exclusive(stack_files(state_directory)):
        names = _own(supervisor, name)
        tell(f"stopping {', '.join(names)}")
        supervisor.stop(names)
        stopped = Stopped()
        try:
            _require_left(name, group, EMPTY_S_MAX)
            yield stopped
        finally:
            # Also one that was found stopped: a swap that was cut off has left it so.
            if stopped.may_start:
                tell(f"starting {', '.join(names)}")
                supervisor.start(names)


def _supervisor(state_directory: Path) -> Supervisor | None:
    supervisor = Supervisor(stack_files(state_directory))
    return supervisor if supervisor.is_running() else None


def _own(supervisor: Supervisor, name: str) -> list[str]:
    own = re.compile(rf"{re.escape(name)}(-[0-9]+)?")
    return sorted(known for known in supervisor.processes() if own.fullmatch(known))


def _require_left(name: str, group: GroupOffsets, within_s: float) -> None:
    if not group.is_left_within(within_s):
        raise FatalError(
            f"{name} is running: its group has {group.members()} members",
            f"stop every process of {name}, then repeat the command",
        )
