"""The position in a data set's bytes: windows, budgets, and the run over elements already known.

Invariant: it goes forward only, and every step is counted against the limits.
It must not interpret values.
"""

from __future__ import annotations

from edge_gateway.scan.encoding import (
    ITEM,
    LONG_VRS,
    SEQUENCE_DELIMITATION,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    ElementHeader,
    Encoding,
    read_element_header,
)
from edge_gateway.scan.limits import KIB, HeaderReason, ScanLimits, ScanStop
from edge_gateway.scan.source import WINDOW_BYTES, ByteSource

REMEMBERED_VALUE_BYTES_MAX = KIB
# Between two fragments of encapsulated pixel data only 8 bytes matter.
_FRAGMENT_READ_AHEAD_BYTES = 4 * KIB


class Cursor:
    """Bytes by position, within the limits. All positions are from the data set's first byte."""

    def __init__(self, source: ByteSource, limits: ScanLimits) -> None:
        self.source = source
        self.limits = limits
        self._buffer = b""
        self._base = 0
        self._walked_bytes = 0
        self._json_bytes = 0

    def _load(self, position: int, need: int, ahead: int = WINDOW_BYTES) -> int:
        """Have `need` bytes from `position` in the buffer, as far as they exist; their index."""
        if not self._base <= position <= self._base + len(self._buffer) - need:
            self._buffer, self._base = self.source.window(position, need, ahead)
        return position - self._base

    def read(self, position: int, length: int) -> bytes:
        """`length` bytes from `position`; fewer where the data ends before."""
        at = self._load(position, length)
        return self._buffer[at : at + length]

    def count(self, walked_bytes: int, json_bytes: int) -> None:
        """Spend from the budgets. Raises ScanStop (header_too_large)."""
        self._walked_bytes += walked_bytes
        self._json_bytes += json_bytes
        if (
            self._walked_bytes > self.limits.header_bytes_max
            or self._json_bytes > self.limits.json_bytes_max
        ):
            raise ScanStop(HeaderReason.HEADER_TOO_LARGE)

    def overrun(self, stop: int) -> ScanStop:
        """Why something that should reach to `stop` does not fit its container."""
        is_cut = stop > self.source.end
        return ScanStop(HeaderReason.TRUNCATED if is_cut else HeaderReason.MALFORMED)

    def header(self, position: int, end: int, encoding: Encoding) -> ElementHeader | None:
        """The element header at `position`; None where `end` comes first."""
        if end - position < 8:
            return None
        at = self._load(position, 12)
        header = read_element_header(self._buffer, at, encoding)
        return header if header and header.size_bytes <= end - position else None

    def is_padding(self, position: int, end: int) -> bool:
        """Whether nothing but zero bytes is left (and not more of them than the limit)."""
        last = position + self.limits.padding_bytes_max
        while position < min(end, last):
            at = self._load(position, 1)
            rest = self._buffer[at : at + min(end, last) - position]
            if not rest:
                return True
            if rest.strip(b"\0"):
                return False
            position += len(rest)
        return position >= min(end, self.source.end)

    def known_explicit(
        self,
        position: int,
        end: int,
        encoding: Encoding,
        known: dict[bytes, bytes],
        out: list[bytes],
    ) -> int:
        """Take elements while their bytes are in `known`: the fast path. The next position."""
        buffer, base = self._buffer, self._base
        at = first = position - base
        # A window at a time, so that the budgets are looked at even where all bytes are known.
        stop = min(end - base, len(buffer), at + WINDOW_BYTES)
        unpack, unpack_length = encoding.unpack_quick, encoding.unpack_length
        found: list[bytes] = []
        find, take = known.get, found.append
        while 0 <= at <= stop - 12:
            vr, length = unpack(buffer, at)
            if vr in SHORT_VRS:
                after = at + 8 + length
            elif vr in LONG_VRS:
                length = unpack_length(buffer, at + 8)[0]
                after = at + 12 + length
            else:
                break
            if length > REMEMBERED_VALUE_BYTES_MAX or after > stop:
                break
            fragment = find(buffer[at:after])
            if fragment is None:
                break
            take(fragment)
            at = after
        self.count(at - first, sum(map(len, found)) + len(found))
        out += found
        return base + at

    def known_implicit(
        self,
        position: int,
        end: int,
        encoding: Encoding,
        known: dict[bytes, bytes],
        out: list[bytes],
    ) -> int:
        """As known_explicit, for headers of tag and 32-bit length."""
        buffer, base = self._buffer, self._base
        at = first = position - base
        stop = min(end - base, len(buffer), at + WINDOW_BYTES)
        unpack = encoding.unpack_quick
        found: list[bytes] = []
        find, take = known.get, found.append
        while 0 <= at <= stop - 8:
            length = unpack(buffer, at)[0]
            after = at + 8 + length
            if length > REMEMBERED_VALUE_BYTES_MAX or after > stop:
                break
            fragment = find(buffer[at:after])
            if fragment is None:
                break
            take(fragment)
            at = after
        self.count(at - first, sum(map(len, found)) + len(found))
        out += found
        return base + at

    def item_header(
        self, position: int, end: int, encoding: Encoding, ahead: int = WINDOW_BYTES
    ) -> tuple[int, int]:
        """Tag and length of an item or delimiter, which have no VR. Raises ScanStop."""
        at = self._load(position, 8, ahead)
        if len(self._buffer) - at < 8 or position + 8 > end:
            raise self.overrun(position + 8)
        group, element, length = encoding.unpack_implicit(self._buffer, at)
        return group << 16 | element, length

    def after_fragments(self, position: int, end: int, encoding: Encoding) -> int:
        """The position behind encapsulated pixel data's Sequence Delimitation Item (PS3.5 A.4).

        Raises ScanStop.
        """
        for _ in range(self.limits.pixel_fragments_max):
            tag, length = self.item_header(position, end, encoding, _FRAGMENT_READ_AHEAD_BYTES)
            position += 8
            if tag == SEQUENCE_DELIMITATION:
                return position
            if tag != ITEM or length == UNDEFINED_LENGTH:
                raise ScanStop(HeaderReason.MALFORMED)
            position += length
            if position > end:
                raise self.overrun(position)
        raise ScanStop(HeaderReason.HEADER_TOO_LARGE)
