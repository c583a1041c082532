"""Product parts that have threads of their own, driven without them.

Invariant: what a thread would call is called here instead, by the one thread there is; nothing of
what it does is replaced. Must not be used outside the simulation.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog

from contracts.failures import HilumError
from edge_gateway.spool.committer import Committer
from edge_gateway.spool.supply import LaidSegment, SegmentSupply

T = TypeVar("T")

Replacements = Sequence[tuple[Any, str, object]]


class SteppedCommitter(Committer):
    """Whoever waits writes, as ever; what nobody waits for is written by `write_due`."""

    def start(self) -> None:
        """No thread: `write_due` is what it would do."""

    def write_due(self) -> None:
        """The thread's turn: writes the queue though nobody waits."""
        if self._queue and not self._closing and self._health.broken is None:
            self._is_led = True
            self._lead(None)
            if self._health.broken is not None:
                self._fail_queue()

    def close(self) -> None:
        self.write_due()
        super().close()


class SteppedSupply(SegmentSupply):
    """Lays a segment out at the moment when one is needed or `lay_ahead` is called."""

    def start(self, ready: list[LaidSegment], next_number: int) -> None:
        self._ready.extend(ready)
        self._next_number = next_number

    def take(self, timeout_s: float) -> LaidSegment:
        if not self._ready:
            self._lay_next()
        return super().take(timeout_s)

    def lay_ahead(self) -> None:
        """The thread's turn."""
        if self._health.broken is None and len(self._ready) < self._limits.segments_ahead:
            self._lay_next()


class InlineExecutor:
    """`ThreadPoolExecutor` that does its work at once."""

    def __init__(self, max_workers: int, thread_name_prefix: str = "") -> None:
        self._is_shut = False

    def submit(self, work: Callable[[], T]) -> Future[T]:
        assert not self._is_shut
        future: Future[T] = Future()
        try:
            future.set_result(work())
        except HilumError as failure:
            future.set_exception(failure)
        return future

    def shutdown(self) -> None:
        self._is_shut = True


class CountedBits:
    """`secrets` whose numbers follow from how many were asked for."""

    def __init__(self) -> None:
        self._count = 0

    def randbits(self, bits: int) -> int:
        self._count += 1
        return (self._count * 0x9E3779B97F4A7C15) & ((1 << bits) - 1)


class CountedIds:
    """Ids as UUID text, ascending, the same in every run."""

    def __init__(self) -> None:
        self._count = 0

    def mint(self) -> str:
        self._count += 1
        return str(uuid.UUID(int=(0x0198 << 112) | (7 << 76) | (2 << 62) | self._count))


@contextmanager
def replaced(replacements: Replacements) -> Iterator[None]:
    """Names of modules or classes bound to something else for the length of a block."""
    before: list[tuple[Any, str, Any]] = []
    try:
        for module, name, value in replacements:
            before.append((module, name, getattr(module, name)))
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in reversed(before):
            setattr(module, name, value)


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Only what is critical is logged: a run meets thousands of faults on purpose."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
