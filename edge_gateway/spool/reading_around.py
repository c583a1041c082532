"""Reading around bad sectors: what the disk cannot give is zeros, which no checksum accepts.

Invariant: a bad sector costs the records that lie on it and no other; every reader behind this
verifies sums before it believes a byte. Must not be used by the receiver: there a disk error
stops every acknowledgement.
"""

from __future__ import annotations

import errno

from edge_gateway.spool.filesystem import FileSystem

_PAGE_BYTES = 4096


class ReadingAround(FileSystem):
    """The machine's file system for the forwarder, whose duty are all the other deliveries."""

    def read_at(self, descriptor: int, length_bytes: int, offset_bytes: int) -> bytes:
        """As much as is in the file; pages that cannot be read as zeros."""
        try:
            return super().read_at(descriptor, length_bytes, offset_bytes)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        end = min(offset_bytes + length_bytes, self.size_bytes(descriptor))
        pieces = []
        while offset_bytes < end:
            stop = min(end, (offset_bytes // _PAGE_BYTES + 1) * _PAGE_BYTES)
            pieces.append(self._page(descriptor, stop - offset_bytes, offset_bytes))
            offset_bytes = stop
        return b"".join(pieces)

    def _page(self, descriptor: int, length_bytes: int, offset_bytes: int) -> bytes:
        try:
            return super().read_at(descriptor, length_bytes, offset_bytes)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return bytes(length_bytes)
