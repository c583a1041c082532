"""Giving room back: segments are recycled, live remnants saved before, purged objects deleted.

Invariant: a segment leaves segments/ only when it is sealed and every name that replaces what is
in it is flushed. Only one process, the forwarder, does this. Must not decide what is purged.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from edge_gateway.spool.entry import RecordKind, SpooledDelivery
from edge_gateway.spool.errors import SpoolCorrupt, SpoolError, translate
from edge_gateway.spool.family import measure_all
from edge_gateway.spool.filesystem import READ, FileSystem
from edge_gateway.spool.layout import (
    REMNANT_SUFFIX,
    SEGMENT_SUFFIX,
    TEMPORARY_SUFFIX,
    SpoolLayout,
    take_lock,
)
from edge_gateway.spool.limits import FREE_SEGMENTS_MAX, Usage
from edge_gateway.spool.location import NO_SEGMENT, RecordLocation
from edge_gateway.spool.mark import read_mark
from edge_gateway.spool.reader import read_record
from edge_gateway.spool.reading_around import ReadingAround
from edge_gateway.spool.remnant import REMNANT_GENERATION, write_remnant
from edge_gateway.spool.segment import SegmentFile


class SpoolReleaser:
    """Holds forward.lock of a spool directory; a context manager.

    Raises SpoolLocked when another forwarder holds it.
    """

    def __init__(self, directory: Path, *, fs: FileSystem | None = None) -> None:
        self._fs = fs or ReadingAround()
        self._layout = SpoolLayout(directory)
        self._lock = take_lock(self._layout.forwarder_lock, "forwarder")
        for name in self._fs.names(self._layout.objects):
            # What a crash left of a `copy_forward`; the record is still in its segment.
            if name.endswith(REMNANT_SUFFIX + TEMPORARY_SUFFIX):
                self._fs.unlink(self._layout.objects / name)

    def copy_forward(self, delivery: SpooledDelivery, location: RecordLocation) -> RecordLocation:
        """On return the delivery no longer needs its segment and survives a power loss.

        Returns its new location; doing it again is harmless. Raises SpoolFull, SpoolBroken,
        SpoolEntryGone and SpoolCorrupt.
        """
        if location.segment_number != NO_SEGMENT:
            found, body = read_record(self._fs, self._layout, location)
            if found.head.kind is not RecordKind.DELIVERY:
                raise SpoolCorrupt("copying a record forward: it is no delivery")
            path = self._layout.remnant(delivery.delivery_id)
            try:
                write_remnant(self._fs, path, location.sequence, found.meta, body)
            except OSError as error:
                raise translate(error, f"copying {delivery.delivery_id} forward") from error
        return RecordLocation(NO_SEGMENT, REMNANT_GENERATION, 0, location.sequence)

    def purge(self, delivery_id: str) -> None:
        """On return the delivery has no file of its own; bytes in a segment go with the segment.

        The unlink is flushed at the next `release_segment`: until then a power loss may bring the
        file back, which is harmless. Raises SpoolFull or SpoolBroken.
        """
        for path in (self._layout.object(delivery_id), self._layout.remnant(delivery_id)):
            try:
                self._fs.discard(path)
            except OSError as error:
                raise translate(error, f"purging {delivery_id}") from error

    def release_segment(self, number: int, *, free_max: int = FREE_SEGMENTS_MAX) -> None:
        """On return the segment is gone from the log, to be recycled (deleted above `free_max`).

        Only for a segment whose deliveries are all purged or copied forward, which is the
        caller's promise. Raises SpoolError when it is the live one or not sealed, SpoolFull or
        SpoolBroken. Releasing it again is harmless.
        """
        if number not in self._layout.segment_numbers(self._fs):
            return
        self._require_sealed(number)
        try:
            # The remnants' names and the unlinks of purged objects, before what they replace goes.
            self._fs.flush_directory(self._layout.objects)
            free = [n for n in self._fs.names(self._layout.free) if n.endswith(SEGMENT_SUFFIX)]
            if len(free) < free_max:
                self._fs.rename(self._layout.segment(number), self._layout.free_segment(number))
                self._fs.flush_directory(self._layout.free)
            else:
                self._fs.unlink(self._layout.segment(number))
            self._fs.flush_directory(self._layout.segments)
        except OSError as error:
            raise translate(error, f"releasing segment {number}") from error

    def close(self) -> None:
        """Lets go of the lock."""
        os.close(self._lock)

    def __enter__(self) -> SpoolReleaser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _require_sealed(self, number: int) -> None:
        descriptor = self._fs.open(self._layout.mark, READ)
        try:
            mark = read_mark(self._fs, descriptor)
        finally:
            self._fs.close(descriptor)
        # Recovery reads the last segment that was written; the mark never leaves that one.
        if mark is None or number >= mark.segment_number:
            raise SpoolError(f"releasing segment {number}: it may still be written")
        segment = SegmentFile(self._fs, self._layout.segment(number))
        segment.close()
        if segment.footer is None:
            # Sealed before the mark left it: the footer has rotted.
            raise SpoolCorrupt(f"releasing segment {number}: it is not sealed")


def spool_usage(directory: Path, *, fs: FileSystem | None = None) -> Usage:
    """What a gateway's spool occupies now, the directories of all its workers together.

    Segments and objects count, free segments are told apart.
    """
    return measure_all(fs or FileSystem(), directory)
