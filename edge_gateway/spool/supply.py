"""Segments before they are needed: recycled or filled with zeros, beside the commit path.

Invariant: a segment is handed out only when its header of this life, its full length and its name
under segments/ are flushed, so that a flush of records changes no metadata (05-performance.md:
3 to 4 times cheaper than a growing file). Must not seal, write or read records.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edge_gateway.spool.errors import SpoolBroken, SpoolFull, translate
from edge_gateway.spool.filesystem import CREATE_NEW, WRITE, FileSystem
from edge_gateway.spool.health import SpoolHealth
from edge_gateway.spool.layout import SEGMENT_SUFFIX, TEMPORARY_SUFFIX, SpoolLayout
from edge_gateway.spool.limits import MIB, RETRY_DELAY_S, SpoolLimits
from edge_gateway.spool.location import NO_SEGMENT
from edge_gateway.spool.segment import SegmentHeader

# Flushed in steps, so that filling never piles up a second's worth of writes before a commit.
_FILL_STEP_BYTES = 8 * MIB


@dataclass(frozen=True, slots=True)
class LaidSegment:
    """An empty segment under segments/, open for writing."""

    descriptor: int
    header: SegmentHeader


class SegmentSupply:
    """Keeps `segments_ahead` empty segments ready in a thread of its own."""

    def __init__(
        self,
        fs: FileSystem,
        layout: SpoolLayout,
        limits: SpoolLimits,
        health: SpoolHealth,
    ) -> None:
        self._fs = fs
        self._layout = layout
        self._limits = limits
        self._health = health
        self._changed = threading.Condition()
        self._ready: deque[LaidSegment] = deque()
        self._next_number = 1
        self._failure: str | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="spool-supply", daemon=True)

    @property
    def failure(self) -> str | None:
        """Why the next segment could not be laid out; None when that is not so."""
        return self._failure

    def start(self, ready: list[LaidSegment], next_number: int) -> None:
        """Begins with what recovery found empty; numbers go on at `next_number`."""
        self._ready.extend(ready)
        self._next_number = next_number
        self._thread.start()

    def take(self, timeout_s: float) -> LaidSegment:
        """The next segment, waiting while it is being filled.

        Raises SpoolFull when there is no room for one or it took longer than `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._ready:
                self._health.require()
                if self._failure is not None:
                    raise SpoolFull(self._failure)
                left_s = deadline - time.monotonic()
                if left_s <= 0 or self._closing:
                    raise SpoolFull("laying out the next segment: not ready in time")
                self._changed.wait(left_s)
            taken = self._ready.popleft()
            self._changed.notify_all()
            return taken

    def close(self) -> None:
        """Stops the thread; what is laid out stays for the next start."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        while self._ready:
            self._fs.close(self._ready.popleft().descriptor)

    def _run(self) -> None:
        try:
            while self._wait_for_need():
                self._lay_next()
        finally:
            # Reached without `close` only when the spool is broken or by a fault of ours; either
            # way no segment will ever come, and `take` must not call that a lack of room.
            if not self._closing:
                self._health.declare_broken("the supply of segments stopped")

    def _lay_next(self) -> None:
        try:
            laid = lay_segment(self._fs, self._layout, self._limits, self._next_number)
        except OSError as error:
            self._fail(translate(error, f"laying out segment {self._next_number}"))
            return
        with self._changed:
            self._next_number += 1
            self._failure = None
            self._ready.append(laid)
            self._changed.notify_all()

    def _wait_for_need(self) -> bool:
        with self._changed:
            if self._failure is not None and not self._closing:
                self._changed.wait(RETRY_DELAY_S)
            while not self._closing and len(self._ready) >= self._limits.segments_ahead:
                self._changed.wait()
            return not self._closing and self._health.broken is None

    def _fail(self, failure: SpoolFull | SpoolBroken) -> None:
        if isinstance(failure, SpoolBroken):
            self._health.declare_broken(str(failure))
        with self._changed:
            self._failure = str(failure)
            self._changed.notify_all()


def lay_segment(
    fs: FileSystem, layout: SpoolLayout, limits: SpoolLimits, number: int
) -> LaidSegment:
    """Segment `number` in a new life, as `lay_out` leaves it; the generation is a new one."""
    return lay_out(
        fs, layout, SegmentHeader(number, secrets.randbits(63) | 1, limits.segment_bytes)
    )


def lay_out(fs: FileSystem, layout: SpoolLayout, header: SegmentHeader) -> LaidSegment:
    """On return this segment is empty, at its full length, and flushed with its name.

    A free segment of the right length is recycled: the generation in its new header makes every
    old record in it foreign. Raises OSError and leaves no half-filled file behind.
    """
    source = _recyclable(fs, layout, header.segment_bytes)
    if source is None:
        source = layout.free / f"{header.number:010d}{TEMPORARY_SUFFIX}"
        _fill_with_zeros(fs, source, header.segment_bytes)
    descriptor = fs.open(source, WRITE)
    with ExitStack() as unless_laid:
        unless_laid.callback(fs.close, descriptor)
        fs.write_at(descriptor, [header.pack()], 0)
        fs.flush(descriptor)
        fs.rename(source, layout.segment(header.number))
        # The new name first: a segment under both names would be recovered, under none lost.
        fs.flush_directory(layout.segments)
        fs.flush_directory(layout.free)
        unless_laid.pop_all()
    return LaidSegment(descriptor, header)


def fill_blank(fs: FileSystem, layout: SpoolLayout, segment_bytes: int) -> None:
    """On return a free segment of this length is there, for `lay_out` to take.

    Raises OSError and leaves no half-filled file behind.
    """
    if _recyclable(fs, layout, segment_bytes) is not None:
        return
    source = layout.free / f"{NO_SEGMENT:010d}{TEMPORARY_SUFFIX}"
    _fill_with_zeros(fs, source, segment_bytes)
    fs.rename(source, layout.free_segment(NO_SEGMENT))
    fs.flush_directory(layout.free)


def _recyclable(fs: FileSystem, layout: SpoolLayout, segment_bytes: int) -> Path | None:
    for name, size_bytes in sorted(fs.file_sizes(layout.free)):
        if not name.endswith(SEGMENT_SUFFIX):
            continue
        if size_bytes == segment_bytes:
            return layout.free / name
        # The setting has changed; a segment's length is part of its format.
        fs.unlink(layout.free / name)
    return None


def _fill_with_zeros(fs: FileSystem, path: Path, size_bytes: int) -> None:
    fs.discard(path)
    zeros = bytes(min(MIB, size_bytes))
    descriptor = fs.open(path, CREATE_NEW)
    try:
        offset = 0
        while offset < size_bytes:
            part = zeros[: min(len(zeros), size_bytes - offset)]
            fs.write_at(descriptor, [part], offset)
            offset += len(part)
            if offset % _FILL_STEP_BYTES == 0:
                fs.flush(descriptor)
        fs.flush(descriptor)
    except OSError:
        fs.unlink(path)
        raise
    finally:
        fs.close(descriptor)
