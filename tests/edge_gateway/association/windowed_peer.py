"""A raw peer with several operations open at once, and what it hears about each."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from load.hostile.raw_peer import (
    AC,
    P_DATA,
    RawPeer,
    UnexpectedAnswer,
    data_set,
    item,
    message,
    store_command,
    user_information,
)


def proposal(invoked: int, performed: int = 1) -> bytes:
    """An A-ASSOCIATE-RQ's user information with a window (PS3.7 D.3.3.3.1)."""
    return user_information(more=item(0x53, struct.pack(">HH", invoked, performed)))


def sub_items(body: bytes) -> list[tuple[int, bytes]]:
    """The sub-items of the user information in an A-ASSOCIATE-AC's body."""
    return [
        sub_item for kind, value in _items(body[68:]) if kind == 0x50 for sub_item in _items(value)
    ]


def negotiated_window(body: bytes) -> tuple[int, int] | None:
    """The window of an A-ASSOCIATE-AC; None where it says none."""
    found = [value for kind, value in sub_items(body) if kind == 0x53]
    if not found:
        return None
    assert len(found) == 1
    invoked, performed = struct.unpack(">HH", found[0])
    return invoked, performed


def associate(peer: RawPeer, window: int, calling: bytes = b"RAW") -> None:
    """Associates with this very window."""
    kind, body = peer.associate(calling=calling, user=proposal(window))
    assert kind == AC and negotiated_window(body) == (window, 1)


def instance_of(number: int) -> bytes:
    return f"1.2.840.{number}".encode()


def request(number: int, padding: int = 0) -> bytes:
    """A whole C-STORE whose message id and instance are of `number`."""
    instance = instance_of(number)
    return message(store_command(instance, message_id=number), data_set(instance, padding))


def answers(peer: RawPeer, count: int) -> list[tuple[int, int]]:
    """Message id and status of the next `count` answers, in their order.

    Raises UnexpectedAnswer, an OSError, where something else comes.
    """
    return [_answer(peer) for _ in range(count)]


def _answer(peer: RawPeer) -> tuple[int, int]:
    kind, body = peer.read_pdu()
    if kind != P_DATA:
        raise UnexpectedAnswer(f"PDU type {kind} instead of an answer")
    return _value(body, 0x0120), _value(body, 0x0900)


def _value(body: bytes, element: int) -> int:
    position = body.index(struct.pack("<HHI", 0, element, 2)) + 8
    return int.from_bytes(body[position : position + 2], "little")


def _items(data: bytes) -> Sequence[tuple[int, bytes]]:
    found = []
    while data:
        length = int.from_bytes(data[2:4], "big")
        found.append((data[0], data[4 : 4 + length]))
        data = data[4 + length :]
    return found
