"""Hostile peers inside an association: broken PDUs and PDVs, lying command sets, floods.

Invariant: what an act sends is bounded, also where nobody stops it.
"""

from __future__ import annotations

import struct

from load.hostile.opening import hear_out
from load.hostile.peer import Act, Visit
from load.hostile.raw_peer import (
    AC,
    EXPLICIT,
    P_DATA,
    RQ,
    RawPeer,
    associate_body,
    context,
    data_set,
    element,
    pdu,
    pdv,
    store_command,
)

COMMAND = pdu(P_DATA, pdv(1, 3, store_command()))
# What breaks the rules once associated, by name: each ends the association.
BROKEN = {
    "H2": struct.pack(">BBI", P_DATA, 0, 0xFFFFFFFF),
    "H2-over-offer": struct.pack(">BBI", P_DATA, 0, 256 * 1024 + 7),
    "H3-none": pdu(P_DATA, b""),
    "H3-0": pdu(P_DATA, struct.pack(">IBB", 0, 1, 3)),
    "H3-1": pdu(P_DATA, struct.pack(">IBB", 1, 1, 3)),
    "H3-larger": pdu(P_DATA, struct.pack(">IBB", 500, 1, 3)),
    "H3-max": pdu(P_DATA, struct.pack(">IBB", 0xFFFFFFFF, 1, 3)),
    "H5": COMMAND + pdu(P_DATA, pdv(1, 0, b"\0" * 64)) + COMMAND,
    "H6": COMMAND + pdu(P_DATA, pdv(1, 0, b"\0" * 64)) + pdu(RQ, associate_body()),
    "H7-later": pdu(AC, associate_body()),
    "H16": pdu(P_DATA, pdv(1, 3, store_command(field=0xFFFF))),
}
# H15: none of these is a SOP Instance UID; None leaves the element away (PS3.5 9.1).
NO_INSTANCE_UIDS = (None, b"", b"1." * 32 + b"1", b"../../x", b"1.2\x003", b"1.2.3.x", b"1..2")
# H17: a command group length of nothing, and of 4 GiB.
LYING_COMMANDS = tuple(
    element(0, struct.pack("<I", lie)) + store_command()[12:] for lie in (0, 0xFFFFFFFF)
)
# H18: the data set is implicit VR all the same.
OTHER_SYNTAX = context(1, syntaxes=(EXPLICIT,))
CANCEL = (
    element(0x0100, struct.pack("<H", 0x0FFF))
    + element(0x0120, b"\x01\x00")
    + element(0x0800, b"\x01\x01")
)
EVENT_REPORT = store_command(field=0x0100)
CANCELS = 2000
EVENT_REPORTS = 100
# H4: a fragment is small and comes often, as from a broken modality; not a test of the disk.
ENDLESS_FRAGMENT = pdu(P_DATA, pdv(1, 0, bytes(16_000)))
ENDLESS_FRAGMENTS_MAX = 4000
ENDLESS_INTERVAL_S = 0.005


def break_rule(name: str) -> Act:
    """An act that associates, says one of BROKEN and waits to be hung up on."""

    def act(visit: Visit) -> None:
        with visit.connected() as peer:
            peer.associate()
            peer.send(BROKEN[name])
            hear_out(peer)

    return act


def never_end(visit: Visit) -> None:
    """H4: fragments of one data set, none of them the last."""
    with visit.connected() as peer:
        peer.associate()
        peer.send(COMMAND)
        for _ in range(ENDLESS_FRAGMENTS_MAX):
            peer.send(ENDLESS_FRAGMENT)
            if not visit.pause(ENDLESS_INTERVAL_S):
                return


def store(command: bytes) -> Act:
    """An act that associates and sends one data set under `command` (H15, H17)."""

    def act(visit: Visit) -> None:
        with visit.connected() as peer:
            peer.associate()
            peer.store(command, data_set())

    return act


def store_in_other_syntax(visit: Visit) -> None:
    """H18."""
    with visit.connected() as peer:
        peer.associate(contexts=OTHER_SYNTAX)
        peer.store(store_command(), data_set())


def send_cancels(peer: RawPeer) -> None:
    """H19, on an association: C-CANCEL requests, which have no response (PS3.7 9.3.2.3)."""
    peer.send(pdu(P_DATA, pdv(1, 3, CANCEL)) * CANCELS)


def send_event_reports(peer: RawPeer) -> list[int]:
    """H20, on an association: N-EVENT-REPORTs one after the other, and their statuses."""
    return [peer.store(EVENT_REPORT, b"\0" * 8) for _ in range(EVENT_REPORTS)]


def flood_with_cancels(visit: Visit) -> None:
    """H19; a C-STORE at the end tells that all of it was read."""
    with visit.connected() as peer:
        peer.associate()
        send_cancels(peer)
        peer.store(store_command(), data_set())


def flood_with_event_reports(visit: Visit) -> None:
    """H20."""
    with visit.connected() as peer:
        peer.associate()
        send_event_reports(peer)
