"""The second directory: a spool like the first one, whose segments are filled from there.

Invariant: it is at every moment, a power loss included, a spool that `Spool.open` recovers: same
gateway_id, same segments, same places in them, and a mark that is moved only after the flush.
Must not choose what is copied, nor release anything: that is its own forwarder's part.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edge_gateway.spool import (
    Entry,
    FileSystem,
    GatewayIdentity,
    SpoolBody,
    SpoolBroken,
    SpoolCorrupt,
    SpooledDelivery,
    SpoolFull,
    SpoolMismatch,
)
from edge_gateway.spool.entry import RecordKind, decode_entry, encode_values
from edge_gateway.spool.errors import translate
from edge_gateway.spool.filesystem import CREATE, CREATE_NEW, Bytes
from edge_gateway.spool.layout import (
    SpoolLayout,
    measure,
    read_identity,
    take_lock,
    write_whole,
)
from edge_gateway.spool.limits import default_free_bytes_min
from edge_gateway.spool.mark import DurableMark, read_mark, write_mark
from edge_gateway.spool.recovery import recover
from edge_gateway.spool.remnant import write_remnant
from edge_gateway.spool.segment import (
    BLOCK_BYTES,
    SegmentFile,
    SegmentHeader,
    SegmentScan,
)
from edge_gateway.spool.supply import lay_out
from edge_gateway.spool.tail import SegmentTail
from edge_gateway.spool.watermarks import lack_of_room

_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MirrorLimits:
    """What the mirror may take; `free_bytes_min` None is the receiver's default for that disk."""

    segment_bytes: int
    spool_bytes_max: int
    free_bytes_min: int | None = None


@dataclass(frozen=True, slots=True)
class Remnant:
    """A delivery that was copied forward, and its record."""

    delivery: SpooledDelivery
    sequence: int
    meta: bytes
    body: bytes


class MirrorSpool:
    """An open mirror, held by this process until `close`. Used by one thread."""

    def __init__(
        self,
        directory: Path,
        identity: GatewayIdentity,
        limits: MirrorLimits,
        *,
        fs: FileSystem | None = None,
    ) -> None:
        """Opens and recovers what is there, or makes it.

        Raises SpoolLocked, SpoolMismatch (another gateway's), SpoolCorrupt, SpoolFull, SpoolBroken.
        """
        self._fs = fs or FileSystem()
        self._layout = SpoolLayout(directory)
        self._limits = limits
        self._tail: SegmentTail | None = None
        self._has_unflushed_names = False
        self.last_number = 0
        self.damaged: tuple[str, ...] = ()
        with ExitStack() as held:
            try:
                self._open(held, identity)
            except OSError as error:
                raise translate(error, f"opening the mirror {directory}") from error
            self._held = held.pop_all()

    @property
    def directory(self) -> Path:
        """Where it is."""
        return self._layout.directory

    @property
    def header(self) -> SegmentHeader | None:
        """Of the segment that is being filled; None between two."""
        return None if self._tail is None else self._tail.header

    @property
    def end_bytes(self) -> int:
        """Up to where that segment is filled."""
        return BLOCK_BYTES if self._tail is None else self._tail.end_bytes

    def last_entries(self) -> Iterator[Entry]:
        """What the segment that is being filled says, as its disk has it.

        Without the deliveries whose own file is not there.
        """
        if self._tail is None:
            return
        segment = SegmentFile(self._fs, self._layout.segment(self._tail.header.number))
        scan = SegmentScan(segment, self._tail.end_bytes)
        try:
            while (found := scan.next_record()) is not None:
                head, meta = found[0].head, found[0].meta
                if head.kind is RecordKind.CHECKPOINT:
                    continue
                entry = decode_entry(head.kind, meta)
                if not self._lacks_object(entry):
                    yield entry
        finally:
            segment.close()

    def begin_segment(self, header: SegmentHeader) -> None:
        """On return this segment, empty, is the one to fill. Raises SpoolFull, SpoolBroken."""
        assert self._tail is None
        self.require_room()
        with _told(f"laying out segment {header.number} of the mirror"):
            laid = lay_out(self._fs, self._layout, header)
        self._tail = SegmentTail(self._fs, laid.descriptor, header)
        self.last_number = header.number

    def append(self, buffers: Sequence[Bytes], sequences: range) -> None:
        """On return these bytes, the records of `sequences` or none, are flushed in their place.

        Raises SpoolFull, SpoolBroken; also when the directory is not the one it was.
        """
        tail = self._tail
        assert tail is not None
        self._require_in_place(tail)
        following = tail.last_sequence + 1
        tail.write(buffers, sequences or range(following, following))
        self._require_in_place(tail)

    def bring_object(self, body: SpoolBody, delivery: SpooledDelivery) -> None:
        """On return the data set's own file is flushed under its unfinished name.

        Raises SpoolCorrupt for bytes that are not those received, SpoolFull, SpoolBroken.
        """
        self.require_room()
        path = self._layout.unfinished_object(delivery.delivery_id)
        with _told("copying a data set into the mirror"):
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

    def finish_object(self, delivery_id: str) -> None:
        """Gives it its final name, once the record that names it is flushed."""
        with _told("naming a data set of the mirror"):
            source = self._layout.unfinished_object(delivery_id)
            self._fs.rename(source, self._layout.object(delivery_id))
        # Not flushed here: until the segment is sealed recovery finds the record and renames.
        self._has_unflushed_names = True

    def bring_remnant(self, record: Remnant) -> None:
        """On return a delivery that was copied forward there is so here too, and flushed.

        Its own file, where it has one, was brought before. Raises SpoolFull, SpoolBroken.
        """
        self.require_room()
        path = self._layout.remnant(record.delivery.delivery_id)
        with _told("copying a remnant into the mirror"):
            write_remnant(self._fs, path, record.sequence, record.meta, record.body)

    def publish(self) -> None:
        """Moves the mark to the end of what is flushed."""
        tail = self._tail
        assert tail is not None
        mark = DurableMark(tail.header.number, tail.header.generation, tail.end_bytes)
        with _told("moving the mirror's mark"):
            write_mark(self._fs, self._mark_descriptor, mark)

    def seal(self) -> None:
        """On return the segment that was being filled is sealed. Raises SpoolFull, SpoolBroken."""
        tail = self._tail
        assert tail is not None
        if self._has_unflushed_names:
            with _told(f"flushing {self._layout.objects}"):
                self._fs.flush_directory(self._layout.objects)
            self._has_unflushed_names = False
        tail.seal()
        tail.close()
        self._tail = None

    def require_room(self) -> None:
        """Raises SpoolFull at a watermark, SpoolBroken where the disk does not say."""
        with _told("measuring the mirror"):
            usage = measure(self._fs, self._layout)
        kept_free = self._limits.free_bytes_min
        if kept_free is None:
            kept_free = default_free_bytes_min(usage.disk_bytes)
        lack = lack_of_room(usage, self._limits.spool_bytes_max, kept_free)
        if lack:
            raise SpoolFull(lack)

    def close(self) -> None:
        """Lets go of the directory."""
        if self._tail is not None:
            self._tail.close()
            self._tail = None
        self._held.close()

    def __enter__(self) -> MirrorSpool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, held: ExitStack, identity: GatewayIdentity) -> None:
        fs, layout = self._fs, self._layout
        fs.make_directory(layout.directory)
        held.callback(os.close, take_lock(layout.receiver_lock, "mirror process"))
        layout.make(fs)
        self._require_own(identity)
        self._mark_descriptor = fs.open(layout.mark, CREATE)
        held.callback(fs.close, self._mark_descriptor)
        marked = read_mark(fs, self._mark_descriptor)
        recovered = recover(fs, layout, self._limits.segment_bytes, self._mark_descriptor)
        for laid in recovered.empty:
            fs.close(laid.descriptor)
            number = laid.header.number
            fs.rename(layout.segment(number), layout.free_segment(number))
        self._tail = recovered.tail
        self.damaged = tuple(recovered.damaged)
        numbers = [*layout.segment_numbers(fs), *layout.damaged_numbers(fs)]
        self.last_number = max(numbers, default=marked.segment_number if marked else 0)

    def _require_own(self, identity: GatewayIdentity) -> None:
        known = read_identity(self._fs, self._layout)
        if known is None:
            write_whole(self._fs, self._layout.identity, [encode_values(identity)])
        elif known.gateway_id != identity.gateway_id:
            raise SpoolMismatch(
                f"opening the mirror {self.directory}: it is of gateway {known.gateway_id}",
                "move it out of spool.mirror_directory",
            )

    def _require_in_place(self, tail: SegmentTail) -> None:
        """A deleted file and a disk that is mounted no more take every write, for nothing."""
        path = self._layout.segment(tail.header.number)
        with _told("looking for the mirror"):
            is_there = self._fs.is_named(tail.descriptor, path)
        if not is_there:
            raise SpoolBroken(f"writing the mirror: {path} is gone or another file")

    def _lacks_object(self, entry: Entry) -> bool:
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
def _told(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise translate(error, doing) from error
