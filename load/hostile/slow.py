"""Hostile peers that take their time, or come in numbers: dripping bytes, silence, crowds.

Invariant: each act holds its connections for its visit at most, and their number is named.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence

from load.hostile.inside import COMMAND
from load.hostile.opening import hear_out
from load.hostile.peer import ANSWER_TIMEOUT_S, Act, Visit
from load.hostile.raw_peer import (
    AC,
    RELEASE_RQ,
    RQ,
    RawPeer,
    associate_body,
    data_set,
    message,
    pdu,
    store_command,
)

DRIP_INTERVAL_S = 1.0
CLIENT_HELLO = struct.pack(">BHH", 22, 0x0301, 512) + bytes(512)
# H25: what is dripped, and how many of its bytes go at once before it begins to drip.
DRIPPED = {
    "request-header": (pdu(RQ, associate_body()), 0),
    "request-body": (pdu(RQ, associate_body()), 7),
    "data-header": (COMMAND, 0),
    "data-body": (COMMAND, 7),
    "tls-record": (CLIENT_HELLO, 0),
}
CONNECTS = 2000
# More than a gateway keeps of silent ones, and few enough for the descriptors of one process.
CONNECTS_OPEN_MAX = 400
SLOW_ASSOCIATIONS = 200
SLOW_OBJECT_S = 50.0
SLOW_PIECES = 50
SLOW_OBJECT_BYTES = 100_000
# By default a gateway lets 64 associations of one calling AE title in: these are of several.
SLOW_ASSOCIATIONS_A_TITLE = 40


def drip(
    peer: RawPeer, data: bytes, interval_s: float, pause: Callable[[float], object] = time.sleep
) -> None:
    """Sends a byte at a time until all are sent, it is cut off, or `pause` returns False."""
    with contextlib.suppress(OSError):
        for byte in data:
            peer.send(bytes((byte,)))
            if pause(interval_s) is False:
                return


def drip_in(where: str, interval_s: float = DRIP_INTERVAL_S) -> Act:
    """An act of H25: one of DRIPPED, a byte at a time."""

    def act(visit: Visit) -> None:
        data, at_once = DRIPPED[where]
        with visit.connected(is_wrapped=where != "tls-record") as peer:
            if where.startswith("data"):
                peer.associate()
            peer.send(data[:at_once])
            drip(peer, data[at_once:], interval_s, visit.pause)

    return act


def stay_silent(visit: Visit) -> None:
    """H26: a connection to a TLS port that never says a word."""
    with visit.connected(is_wrapped=False):
        _hold(visit)


def stay_silent_in_handshake(visit: Visit) -> None:
    """H26: the header of a ClientHello, and then nothing."""
    with visit.connected(is_wrapped=False) as peer:
        peer.send(CLIENT_HELLO[:5])
        _hold(visit)


def speak_plain_after_tls(visit: Visit) -> None:
    """H27: plain text where TLS was agreed; to a port without TLS, after a ClientHello."""
    request = pdu(RQ, associate_body())
    with visit.connected() as peer:
        if visit.door.tls is None:
            peer.send(CLIENT_HELLO)
            peer.send(request)
            hear_out(peer)
        else:
            send_beneath_tls(peer, request)


def send_beneath_tls(peer: RawPeer, data: bytes) -> None:
    """Sends on the socket below an established TLS, and reads until it is closed."""
    with socket.socket(fileno=peer.socket.detach()) as plain:
        plain.settimeout(ANSWER_TIMEOUT_S)
        plain.sendall(data)
        # A reset is a close with our bytes unread, which is as good.
        with contextlib.suppress(ConnectionResetError):
            while plain.recv(4096):
                pass


def connect_in_crowds(visit: Visit) -> None:
    """H29: the crowd comes, and its youngest stay to the end of the visit."""
    open_crowd(visit)
    _hold(visit)


def open_crowd(visit: Visit) -> int:
    """2,000 silent connections as fast as they come; how many were made.

    The oldest are closed meanwhile, CONNECTS_OPEN_MAX stay open with the visit.
    """
    held: deque[RawPeer] = deque()
    for number in range(CONNECTS):
        if visit.is_over:
            return number
        if len(held) >= CONNECTS_OPEN_MAX:
            visit.close(held.popleft())
        held.append(visit.connect(is_wrapped=False))
    return CONNECTS


def store_slowly(visit: Visit) -> None:
    """H30: 200 associations, each sending one object within 50 s."""
    send_slowly([open_association(visit, number) for number in range(SLOW_ASSOCIATIONS)], visit)


def open_association(visit: Visit, number: int) -> RawPeer:
    """One of H30's associations. Raises ConnectionRefusedError where it is not let in."""
    peer = visit.connect()
    title = f"SLOW{number // SLOW_ASSOCIATIONS_A_TITLE}".encode()
    if peer.associate(calling=title)[0] != AC:
        raise ConnectionRefusedError("not let in")
    return peer


def send_slowly(
    peers: Sequence[RawPeer], visit: Visit, seconds: float = SLOW_OBJECT_S
) -> list[int]:
    """One object on each association, piece by piece in turn over `seconds`; their statuses.

    Empty where the visit is over before.
    """
    stream = message(store_command(), data_set(padding=SLOW_OBJECT_BYTES))
    step = -(-len(stream) // SLOW_PIECES)
    for start in range(0, len(stream), step):
        for peer in peers:
            peer.send(stream[start : start + step])
        if not visit.pause(seconds / SLOW_PIECES):
            return []
    statuses = [peer.read_status() for peer in peers]
    for peer in peers:
        peer.send(pdu(RELEASE_RQ, bytes(4)))
        peer.read_pdu()
    return statuses


def _hold(visit: Visit) -> None:
    while visit.pause(DRIP_INTERVAL_S):
        pass
