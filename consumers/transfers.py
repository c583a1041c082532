"""Transfers of packs that lie in memory, a few side by side.

Invariant: what all of them hold together stays below `memory_bytes_max`, and their number below
PENDING_PER_THREAD times the threads; results come in the order of starting, on the thread that
asks. Nothing may be in flight after a batch: `abandon` ends every one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from infra.settings import ConsumerSettings

T = TypeVar("T")

MIB = 1024 * 1024
# Three packs: two on their way and one that is gathered. A pack beyond it goes by the scratch disk.
MEMORY_BYTES_MAX = 192 * MIB
TRANSFERS_AT_ONCE = 2
# Small packs wait in line, so that their announcements are not held up by a whole batch.
PENDING_PER_THREAD = 4


@dataclass(frozen=True, slots=True)
class _Pending(Generic[T]):
    future: Future[T]
    size_bytes: int


class Transfers(Generic[T]):
    """One writer's transfers, started and collected on the writer's own thread.

    Settings: `memory_bytes_max` (0: every pack by the scratch disk) and `transfers_at_once`.
    """

    def __init__(self, settings: ConsumerSettings) -> None:
        at_once = settings.transfers_at_once or TRANSFERS_AT_ONCE
        told = settings.memory_bytes_max
        self.memory_bytes_max = MEMORY_BYTES_MAX if told is None else told
        self._pending_max = at_once * PENDING_PER_THREAD
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="transfer")
        self._pending: deque[_Pending[T]] = deque()
        self._held_bytes = 0

    def has_room_for(self, size_bytes: int) -> bool:
        """Whether so many bytes may ever be held in memory."""
        return size_bytes <= self.memory_bytes_max

    def make_room(self, size_bytes: int) -> Iterator[T]:
        """Results of the oldest transfers, until so many bytes more may be held.

        Raises what a transfer raised; the others go on until `abandon`.
        """
        while self._pending and (
            self._held_bytes + size_bytes > self.memory_bytes_max
            or len(self._pending) >= self._pending_max
        ):
            yield self._oldest()

    def start(self, size_bytes: int, transfer: Callable[[], T]) -> None:
        """Runs `transfer`, which holds `size_bytes`, as soon as a thread is free."""
        self._held_bytes += size_bytes
        self._pending.append(_Pending(self._threads.submit(transfer), size_bytes))

    def rest(self) -> Iterator[T]:
        """Results of all that are still pending. Raises as `make_room`."""
        while self._pending:
            yield self._oldest()

    def abandon(self) -> None:
        """On return nothing is in flight; results and failures of what was are dropped.

        Takes as long as a transfer that began needs: each gives up when it stalls.
        """
        for pending in self._pending:
            pending.future.cancel()
        wait([pending.future for pending in self._pending])
        self._pending.clear()
        self._held_bytes = 0

    def close(self) -> None:
        """Ends the threads."""
        self.abandon()
        self._threads.shutdown()

    def _oldest(self) -> T:
        pending = self._pending.popleft()
        try:
            return pending.future.result()
        finally:
            self._held_bytes -= pending.size_bytes
