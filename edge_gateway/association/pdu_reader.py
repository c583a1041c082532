"""PDUs off a connection, one at a time, out of one reusable buffer.

Invariant: a declared length is checked against its limit before a byte of memory is taken for
it, and a PDU is whole within its deadline by the clock or the association ends.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from edge_gateway.association.connection import Connection
from edge_gateway.association.limits import (
    ASSOCIATE_BYTES_MAX,
    BUFFER_BYTES_MIN,
    PDATA_SLACK_BYTES,
    PDU_HEADER_BYTES,
    SHORT_PDU_BYTES,
    AssociationLimits,
)
from edge_gateway.association.pdu import AbortReason, InvalidPdu, PduType, ProtocolError


@dataclass(frozen=True, slots=True)
class Pdu:
    """A whole PDU. `body` is a view into the buffer, valid until the next read."""

    pdu_type: PduType
    body: memoryview


class PduReader:
    """Reads ahead as much as one buffer holds: a small object comes in with a single call."""

    def __init__(self, connection: Connection, limits: AssociationLimits) -> None:
        self._connection = connection
        self._limits = limits
        self._buffer = bytearray(BUFFER_BYTES_MIN)
        self._start = 0
        self._end = 0

    @property
    def has_bytes(self) -> bool:
        """Whether something was read already that no PDU was taken from."""
        return self._start < self._end

    @property
    def has_pdu(self) -> bool:
        """Whether `read` has no need to receive."""
        have_bytes = self._end - self._start
        return have_bytes >= PDU_HEADER_BYTES and have_bytes >= PDU_HEADER_BYTES + self._length()

    def read_request(self, deadline: float) -> bytes:
        """The body of the A-ASSOCIATE-RQ that a connection has to begin with.

        Raises ProtocolError, ConnectionLost, DeadlinePassed, Stopping.
        """
        self._fill(PDU_HEADER_BYTES, deadline, is_idle=True)
        pdu_type, length = self._header()
        if pdu_type != PduType.ASSOCIATE_RQ:
            raise ProtocolError(AbortReason.UNEXPECTED_PDU, "not an A-ASSOCIATE-RQ")
        return bytes(self._body(length, deadline, is_idle=True))

    def read(self, is_idle: bool) -> Pdu:
        """The next PDU of an association; `is_idle` says that no message is under way.

        Raises as `read_request`; Stopping only when idle.
        """
        if self._start == self._end:
            self._fill(1, time.monotonic() + self._limits.idle_timeout_s, is_idle)
        deadline = time.monotonic() + self._limits.pdu_timeout_s
        self._fill(PDU_HEADER_BYTES, deadline, is_idle=False)
        pdu_type, length = self._header()
        return Pdu(pdu_type, self._body(length, deadline, is_idle=False))

    def _header(self) -> tuple[PduType, int]:
        number = self._buffer[self._start]
        length = self._length()
        try:
            pdu_type = PduType(number)
        except ValueError:
            raise ProtocolError(AbortReason.UNRECOGNIZED_PDU, "unknown PDU type") from None
        if length > self._length_max(pdu_type):
            raise InvalidPdu(f"{pdu_type.name} longer than its limit")
        return pdu_type, length

    def _length(self) -> int:
        return int.from_bytes(self._buffer[self._start + 2 : self._start + 6], "big")

    def _length_max(self, pdu_type: PduType) -> int:
        if pdu_type == PduType.P_DATA:
            return self._limits.pdu_bytes_max + PDATA_SLACK_BYTES
        if pdu_type in (PduType.ASSOCIATE_RQ, PduType.ASSOCIATE_AC):
            return ASSOCIATE_BYTES_MAX
        return SHORT_PDU_BYTES

    def _body(self, length: int, deadline: float, is_idle: bool) -> memoryview:
        self._fill(PDU_HEADER_BYTES + length, deadline, is_idle)
        begin = self._start + PDU_HEADER_BYTES
        self._start = begin + length
        return memoryview(self._buffer)[begin : begin + length]

    def _fill(self, count: int, deadline: float, is_idle: bool) -> None:
        """Has `count` bytes in one piece from `_start` on."""
        if self._end - self._start >= count:
            return
        self._make_room(count)
        view = memoryview(self._buffer)
        while self._end - self._start < count:
            self._end += self._connection.receive_into(view[self._end :], deadline, is_idle)

    def _make_room(self, count: int) -> None:
        kept = self._end - self._start
        if count > len(self._buffer):
            # A new one, never a resize: views of the old one may still be held. It holds two of
            # such PDUs and what stood before them: one call reads as much, and a PDU that comes
            # behind a command set need not be moved to the front to be whole.
            grown = bytearray(2 * (count + PDU_HEADER_BYTES) + BUFFER_BYTES_MIN)
            memoryview(grown)[:kept] = memoryview(self._buffer)[self._start : self._end]
            self._buffer = grown
        elif len(self._buffer) - self._start < count or not kept:
            view = memoryview(self._buffer)
            view[:kept] = view[self._start : self._end]
        else:
            return
        self._start, self._end = 0, kept
