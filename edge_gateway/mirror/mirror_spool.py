"""The second directory: a spool like the first one, whose segments are filled from there.

Invariant: it is at every moment, a power loss included, a spool that `Spool.open` recovers: same
gateway_id, same segments, same places in them, and a mark that is moved only after the flush.
Must not choose what is copied, nor release anything: that is its own forwarder's part.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edge_gateway.mirror.blank_segments import BlankSegments
from edge_gateway.mirror.mirrored_objects import MirroredObjects, told
from edge_gateway.spool import (
    Entry,
    FileSystem,
    GatewayIdentity,
    SpoolBroken,
    SpoolFull,
    SpoolMismatch,
)
from edge_gateway.spool.entry import RecordKind, decode_entry, encode_values
from edge_gateway.spool.errors import translate
from edge_gateway.spool.filesystem import CREATE, Bytes
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
from edge_gateway.spool.segment import (
    BLOCK_BYTES,
    SegmentFile,
    SegmentHeader,
    SegmentScan,
)
from edge_gateway.spool.supply import lay_out
from edge_gateway.spool.tail import SegmentTail
from edge_gateway.spool.watermarks import lack_of_room


@dataclass(frozen=True, slots=True)
class MirrorLimits:
    """What the mirror may take; `free_bytes_min` None is the receiver's default for that disk."""

    segment_bytes: int
    spool_bytes_max: int
    free_bytes_min: int | None = None


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
        self.objects = MirroredObjects(self._fs, self._layout)
        self._blanks = BlankSegments(self._fs, self._layout, limits.segment_bytes)
        self.last_number = 0
        self.damaged: tuple[str, ...] = ()
        with ExitStack() as held:
            try:
                self._open(held, identity)
            except OSError as error:
                raise translate(error, f"opening the mirror {directory}") from error
            self._held = held.pop_all()
        self._blanks.prepare()

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
                if not self.objects.is_lacking(entry):
                    yield entry
        finally:
            segment.close()

    def begin_segment(self, header: SegmentHeader) -> None:
        """On return this segment, empty, is the one to fill. Raises SpoolFull, SpoolBroken."""
        assert self._tail is None
        self.require_room()
        with told(f"laying out segment {header.number} of the mirror"):
            laid = lay_out(self._fs, self._layout, header)
        self._tail = SegmentTail(self._fs, laid.descriptor, header)
        self.last_number = header.number
        self._blanks.prepare()

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

    def publish(self) -> None:
        """Moves the mark to the end of what is flushed."""
        tail = self._tail
        assert tail is not None
        mark = DurableMark(tail.header.number, tail.header.generation, tail.end_bytes)
        with told("moving the mirror's mark"):
            write_mark(self._fs, self._mark_descriptor, mark)

    def seal(self) -> None:
        """On return the segment that was being filled is sealed. Raises SpoolFull, SpoolBroken."""
        tail = self._tail
        assert tail is not None
        self.objects.flush_names()
        tail.seal()
        tail.close()
        self._tail = None

    def require_room(self) -> None:
        """Raises SpoolFull at a watermark, SpoolBroken where the disk does not say."""
        with told("measuring the mirror"):
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
        self._blanks.close()
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
        with told("looking for the mirror"):
            is_there = self._fs.is_named(tail.descriptor, path)
        if not is_there:
            raise SpoolBroken(f"writing the mirror: {path} is gone or another file")
