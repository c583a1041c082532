"""What a receiver holds: threads, descriptors, memory and files, before and after a visit.

Invariant: only looks at processes and directories; what it cannot look at (gone meanwhile) counts
as nothing held.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from load.report.model import Failure

# Looked at until then only where something is left: a busy machine takes seconds for a close.
SETTLE_WITHIN_S = 40.0
_POLL_S = 0.02
# What an allocator keeps of buffers that were given back; the gateway's own tests use the same.
MEMORY_GROWTH_BYTES_MAX = 32 * 1024 * 1024
# Segments are recycled, not deleted: their number follows what good senders sent.
_RECYCLED = ".seg"


@dataclass(frozen=True, slots=True)
class Footprint:
    """Sums over all processes of a receiver; `files` are those below its directory."""

    processes: int
    threads: int
    descriptors: int
    memory_bytes: int
    files: int

    def minus(self, other: Footprint) -> Footprint:
        """How much more this is."""
        return Footprint(
            self.processes - other.processes,
            self.threads - other.threads,
            self.descriptors - other.descriptors,
            self.memory_bytes - other.memory_bytes,
            self.files - other.files,
        )

    def is_within(self, other: Footprint) -> bool:
        """Whether nothing that is counted exceeds `other`; memory is another question."""
        more = self.minus(other)
        return max(more.processes, more.threads, more.descriptors, more.files) <= 0


def footprint(process_ids: Iterable[int], directory: Path) -> Footprint:
    """What these processes hold at this moment."""
    processes = threads = descriptors = memory_bytes = 0
    for process_id in process_ids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(process_id)
            with process.oneshot():
                held = process.num_threads(), process.num_fds(), process.memory_info().rss
            processes += 1
            threads, descriptors = threads + held[0], descriptors + held[1]
            memory_bytes += held[2]
    return Footprint(processes, threads, descriptors, memory_bytes, _count_files(directory))


def settled(look: Callable[[], Footprint], before: Footprint) -> Footprint:
    """The footprint once it is back to `before`, or as it is after SETTLE_WITHIN_S."""
    deadline = time.monotonic() + SETTLE_WITHIN_S
    now = look()
    while not now.is_within(before) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        now = look()
    return now


def left_behind(where: str, before: Footprint, after: Footprint) -> tuple[Failure, ...]:
    """A failure for each kind of thing of which there is more than before."""
    more = after.minus(before)
    found = {
        "processes": more.processes,
        "threads": more.threads,
        "descriptors": more.descriptors,
        "files": more.files,
    }
    late = f"left behind after {SETTLE_WITHIN_S:.0f} s"
    return tuple(Failure(where, f"{kind} {late}", n) for kind, n in found.items() if n > 0)


def memory_kept(where: str, before: Footprint, after: Footprint) -> tuple[Failure, ...]:
    """A failure where more memory is held than an allocator keeps.

    Tells a leak only where it comes again at the next visit: the first 200 associations of a
    process leave it 30 MB of stacks and buffers that the next 200 use again.
    """
    more_bytes = after.memory_bytes - before.memory_bytes
    if more_bytes <= MEMORY_GROWTH_BYTES_MAX:
        return ()
    return (Failure(where, f"{more_bytes / 1e6:.0f} MB of memory kept", 1),)


def _count_files(directory: Path) -> int:
    return sum(path.is_file() and path.suffix != _RECYCLED for path in directory.rglob("*"))
