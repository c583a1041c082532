"""Hostile peers that go the wrong way: half-closed, reset, colliding releases, talking on.

Invariant: an act leaves no connection of its own behind.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from load.hostile.inside import COMMAND
from load.hostile.opening import hear_out
from load.hostile.peer import Act, Visit
from load.hostile.raw_peer import (
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RQ,
    RawPeer,
    associate_body,
    data_set,
    pdu,
    pdv,
)

# 6 MB: more than the gateway holds in memory, so a file of its own is under way.
MID_DATA_SET = COMMAND + pdu(P_DATA, pdv(1, 0, bytes(16_000))) * 400
# What is said behind an A-RELEASE-RQ that is not answered yet: H23, H24.
AFTER_RELEASE = {
    "H23": pdu(RELEASE_RP, bytes(4)),
    "H24": COMMAND + pdu(P_DATA, pdv(1, 2, data_set())),
}


def _half_header(peer: RawPeer) -> None:
    peer.send(b"\x01\0\0\0\x01")


def _associated(peer: RawPeer) -> None:
    peer.associate()


def _command_sent(peer: RawPeer) -> None:
    peer.associate()
    peer.send(COMMAND)


def _in_mid_data_set(peer: RawPeer) -> None:
    peer.associate()
    peer.send(MID_DATA_SET)


def _released(peer: RawPeer) -> None:
    peer.associate()
    peer.send(pdu(RELEASE_RQ, bytes(4)))


# H22: each state of the association, and how to come into it from a new connection.
STATES: dict[str, Callable[[RawPeer], None]] = {
    "connected": lambda peer: None,
    "half-header": _half_header,
    "associated": _associated,
    "command-sent": _command_sent,
    "in-mid-data-set": _in_mid_data_set,
    "released": _released,
}


def reset(peer: RawPeer) -> None:
    """Ends a connection by RST: nothing lingers, what was not sent yet is dropped."""
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()


def half_close(peer: RawPeer, called_ae_title: str = "NORTH") -> None:
    """H21: an A-ASSOCIATE-RQ, and the end of the stream in this direction."""
    peer.send(pdu(RQ, associate_body(called=called_ae_title.encode())))
    peer.socket.shutdown(socket.SHUT_WR)


def half_close_and_listen(visit: Visit) -> None:
    """H21 to its end."""
    with visit.connected() as peer:
        half_close(peer, visit.door.called_ae_title)
        while peer.socket.recv(4096):
            pass


def reset_in(state: str) -> Act:
    """An act of H22: an RST in one of STATES."""

    def act(visit: Visit) -> None:
        with visit.connected() as peer:
            STATES[state](peer)
            reset(peer)

    return act


def talk_after_release(name: str) -> Act:
    """An act of H23 or H24: an A-RELEASE-RQ, and at once one of AFTER_RELEASE."""

    def act(visit: Visit) -> None:
        with visit.connected() as peer:
            peer.associate()
            peer.send(pdu(RELEASE_RQ, bytes(4)) + AFTER_RELEASE[name])
            hear_out(peer)

    return act
