"""A-ASSOCIATE as bytes, requestor's side, with the asynchronous window (PS3.8 9.3, PS3.7 D.3.3).

Invariant: an answer decodes or `InvalidAnswer` is raised, in time linear to its length. Must not
read a socket.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ASSOCIATE_RQ = 0x01
ASSOCIATE_AC = 0x02
ASSOCIATE_RJ = 0x03
P_DATA = 0x04
RELEASE_RQ = 0x05
RELEASE_RP = 0x06
ABORT = 0x07

CONTEXTS_MAX = 128
# Of an A-ASSOCIATE-RQ and -AC: version, reserved, two titles, 32 reserved bytes (PS3.8 9.3.2).
FIXED_BYTES = 68
_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
_AE_TITLE_BYTES = 16
# A PDU below this holds no fragment worth sending.
_PEER_PDU_BYTES_MIN = 32


class InvalidAnswer(Exception):
    """The peer's PDU contradicts itself."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What an association offers. Context n of `contexts` (abstract and transfer syntax) has the
    id 2n + 1; a `window` of 1 is not offered, it is the default."""

    called_ae_title: str
    calling_ae_title: str
    contexts: Sequence[tuple[str, str]]
    pdu_bytes_max: int
    window: int
    implementation: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was negotiated. `pdu_bytes_max` of the peer: 0 means no limit."""

    accepted: frozenset[int]
    pdu_bytes_max: int
    window: int


def encode_request(proposal: Proposal) -> bytes:
    """The A-ASSOCIATE-RQ. Raises ValueError for an AE title that is none."""
    class_uid, version_name = proposal.implementation
    user = item(0x51, struct.pack(">I", proposal.pdu_bytes_max)) + item(0x52, class_uid.encode())
    if proposal.window > 1:
        # Invoked by us, performed by us: we perform none, and 1 says so without saying 0, which
        # means unlimited (PS3.7 D.3.3.3.1).
        user += item(0x53, struct.pack(">HH", proposal.window, 1))
    user += item(0x55, version_name.encode())
    contexts = b"".join(
        item(
            0x20,
            bytes((2 * number + 1, 0, 0, 0))
            + item(0x30, abstract.encode())
            + item(0x40, transfer.encode()),
        )
        for number, (abstract, transfer) in enumerate(proposal.contexts)
    )
    body = (
        struct.pack(">HH", 1, 0)
        + _ae_title(proposal.called_ae_title)
        + _ae_title(proposal.calling_ae_title)
        + bytes(32)
        + item(0x10, _APPLICATION_CONTEXT)
        + contexts
        + item(0x50, user)
    )
    return pdu(ASSOCIATE_RQ, body)


def decode_accept(body: bytes, window_offered: int) -> Answer:
    """What an A-ASSOCIATE-AC grants. Raises InvalidAnswer."""
    accepted: set[int] = set()
    pdu_bytes_max, window = 0, 1
    for kind, value in items(body, FIXED_BYTES):
        if kind == 0x21:
            if len(value) < 4:
                raise InvalidAnswer("presentation context cut short")
            if value[2] == 0:
                accepted.add(value[0])
        elif kind == 0x50:
            pdu_bytes_max, window = _user_information(value, window_offered)
    if 0 < pdu_bytes_max < _PEER_PDU_BYTES_MIN:
        raise InvalidAnswer("maximum PDU length holds no message")
    return Answer(frozenset(accepted), pdu_bytes_max, window)


def items(body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Type and value of each item from `start` on. Raises InvalidAnswer."""
    position, end = start, len(body)
    while position < end:
        if end - position < 4:
            raise InvalidAnswer("item header cut short")
        kind, _, length = struct.unpack_from(">BBH", body, position)
        position += 4
        if position + length > end:
            raise InvalidAnswer("item longer than what holds it")
        yield kind, body[position : position + length]
        position += length


def item(kind: int, value: bytes) -> bytes:
    """One item of a PDU: type, reserved byte, length, value."""
    return struct.pack(">BBH", kind, 0, len(value)) + value


def pdu(kind: int, body: bytes) -> bytes:
    """A PDU: type, reserved byte, length, body."""
    return struct.pack(">BBI", kind, 0, len(body)) + body


def _ae_title(title: str) -> bytes:
    encoded = title.encode("ascii")
    if not 0 < len(encoded.strip()) <= _AE_TITLE_BYTES:
        raise ValueError(f"an AE title has 1 to 16 characters, {title!r} has not")
    return encoded.ljust(_AE_TITLE_BYTES)


def _user_information(value: bytes, window_offered: int) -> tuple[int, int]:
    pdu_bytes_max, window = 0, 1
    for kind, content in items(value, 0):
        if kind == 0x51 and len(content) == 4:
            pdu_bytes_max = int.from_bytes(content, "big")
        elif kind == 0x53 and len(content) == 4:
            # Operations that the requestor may have outstanding; 0: as many as it likes.
            granted = int.from_bytes(content[:2], "big")
            window = min(granted or window_offered, window_offered)
    return pdu_bytes_max, window
