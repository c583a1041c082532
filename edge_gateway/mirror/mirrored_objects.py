"""The data sets of the mirror that have a file of their own, and the deliveries copied forward.

Invariant: a file has its final name only when the record that names it is flushed, as in the first
spool, so that recovery tells an orphan from a data set. Must not write segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge_gateway.spool import Entry, FileSystem, SpoolBody, SpoolCorrupt, SpooledDelivery
from edge_gateway.spool.errors import translate
from edge_gateway.spool.filesystem import CREATE_NEW
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.remnant import write_remnant

_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Remnant:
    """A delivery that was copied forward, and its record."""

    delivery_id: str
    sequence: int
    meta: bytes
    body: bytes


class MirroredObjects:
    """The directory objects/ of one mirror. Used by one thread."""

    def __init__(self, fs: FileSystem, layout: SpoolLayout) -> None:
        self._fs = fs
        self._layout = layout
        self._has_unflushed_names = False

    def bring(self, body: SpoolBody, delivery_id: str) -> None:
        """On return the data set's own file is flushed under its unfinished name.

        Raises SpoolCorrupt for bytes that are not those received, SpoolFull, SpoolBroken.
        """
        path = self._layout.unfinished_object(delivery_id)
        with told("copying a data set into the mirror"):
            self._fs.discard(path)
            descriptor = self._fs.open(path, CREATE_NEW)
            try:
                self._fill(descriptor, body)
            except (OSError, SpoolCorrupt):
                self._fs.discard(path)
                raise
            finally:
                self._fs.close(descriptor)
            self._fs.flush_directory(self._layout.objects)

    def finish(self, delivery_id: str) -> None:
        """Gives it its final name, once the record that names it is flushed."""
        with told("naming a data set of the mirror"):
            source = self._layout.unfinished_object(delivery_id)
            self._fs.rename(source, self._layout.object(delivery_id))
        # Not flushed here: until the segment is sealed recovery finds the record and renames.
        self._has_unflushed_names = True

    def bring_remnant(self, remnant: Remnant) -> None:
        """On return a delivery that was copied forward there is so here too, and flushed.

        Its own file, where it has one, was brought before. Raises SpoolFull, SpoolBroken.
        """
        path = self._layout.remnant(remnant.delivery_id)
        with told("copying a remnant into the mirror"):
            write_remnant(self._fs, path, remnant.sequence, remnant.meta, remnant.body)

    def flush_names(self) -> None:
        """On return every final name survives a power loss. Raises SpoolFull, SpoolBroken."""
        if self._has_unflushed_names:
            with told(f"flushing {self._layout.objects}"):
                self._fs.flush_directory(self._layout.objects)
            self._has_unflushed_names = False

    def is_lacking(self, entry: Entry) -> bool:
        """Whether this is a delivery whose own file is not here."""
        if not isinstance(entry, SpooledDelivery) or not entry.external:
            return False
        return not self._layout.object(entry.delivery_id).exists()

    def _fill(self, descriptor: int, body: SpoolBody) -> None:
        offset = 0
        for chunk in body.chunks(_CHUNK_BYTES):
            self._fs.write_at(descriptor, [chunk], offset)
            offset += len(chunk)
        self._fs.flush(descriptor)


@contextmanager
def told(doing: str) -> Iterator[None]:
    """An OSError of the block as SpoolFull or SpoolBroken."""
    try:
        yield
    except OSError as error:
        raise translate(error, doing) from error
