"""Stops a local stack, or some of its processes, and nothing else.

Invariant: a process is ended because the stack's own supervisor runs it, or because it carries
the stack's mark. State directories are never touched.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.failures import FatalError, RetryableError
from operations.stack_files import StackFiles
from operations.stack_leftovers import end_marked_processes
from operations.stack_supervisor import Supervisor


@dataclass(frozen=True, slots=True)
class DownReport:
    """What `down` ended: processes by name, and leftovers that no supervisor knew."""

    stopped: tuple[str, ...]
    leftovers: tuple[str, ...]


def take_down(files: StackFiles, supervisor: Supervisor) -> DownReport:
    """Readers and writers first, then the engines under them, then the supervisor."""
    stopped: list[str] = []
    try:
        alive = [process.name for process in supervisor.processes().values() if process.is_alive]
        engines = [name for name in alive if name.startswith(("kafka", "minio-", "clickhouse-"))]
        supervisor.stop([name for name in alive if name not in engines])
        supervisor.stop(engines)
        supervisor.shut_down()
        stopped = alive
    except RetryableError:
        pass  # no supervisor answers: what it left is found by its mark
    leftovers = end_marked_processes(files.marker)
    files.socket.unlink(missing_ok=True)
    return DownReport(tuple(stopped), tuple(leftovers))


def stop_some(supervisor: Supervisor, names: frozenset[str]) -> DownReport:
    """Stop these alone. Raises FatalError for a name that the stack does not have."""
    known = supervisor.processes()
    unknown = sorted(names - known.keys())
    if unknown:
        raise FatalError(f"no process {unknown[0]!r}", f"there is: {', '.join(sorted(known))}")
    alive = sorted(name for name in names if known[name].is_alive)
    supervisor.stop(alive)
    return DownReport(tuple(alive), ())
