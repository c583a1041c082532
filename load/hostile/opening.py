"""Hostile peers before and while they associate: nonsense, lies about lengths, odd proposals.

Invariant: each act ends by itself once the gateway answers or hangs up.
"""

from __future__ import annotations

import struct

from load.hostile.peer import Act, Visit
from load.hostile.raw_peer import (
    AC,
    P_DATA,
    RELEASE_RQ,
    RQ,
    RawPeer,
    associate_body,
    context,
    data_set,
    item,
    message,
    pdu,
    store_command,
    user_information,
)

MIB = 1024 * 1024
# What is said before any association, by name. All of it is cause to hang up (PS3.8 9.2.3).
FIRST_BYTES = {
    "H1": struct.pack(">BBI", RQ, 0, 0xFFFFFFFF) + bytes(4096),
    "H7": pdu(AC, associate_body()),
    "H9-300-contexts": pdu(
        RQ, associate_body(contexts=b"".join(context(2 * (i % 128) + 1) for i in range(300)))
    ),
    "H9-even-id": pdu(RQ, associate_body(contexts=context(2))),
    "H9-duplicate-id": pdu(RQ, associate_body(contexts=context(1) + context(1))),
    "H28-http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "H28-ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "H28-smb": b"\0\0\0\x85\xffSMBr\0\0\0\0" + bytes(64),
}
# H8: 128 contexts of 125 transfer syntaxes each.
FIRST_SYNTAX = "1.2.3.0"
MANY_SYNTAXES = b"".join(
    context(2 * i + 1, syntaxes=tuple(f"1.2.3.{number}" for number in range(125)))
    for i in range(128)
)
# H10; the first five are no AE title (PS3.5 6.2), the others are only padded in an odd way.
NO_TITLES = (bytes(16), b" " * 16, b"A\\B", "Köln".encode(), b"A\x01B")
ODD_TITLES = (b"PADDED\0\0\0\0\0\0\0\0\0\0", b"  LEADING")
# H11; under 8 no answer fits.
MAXIMUM_LENGTHS = (0, 1, 7, 8, 0xFFFFFFFF)
# H12, H13, H14 by name.
USER_ITEMS = {
    "H12": item(0x7F, b"nobody knows"),
    "H13-0": item(0x53, struct.pack(">HH", 0, 0)),
    "H13-65535": item(0x53, struct.pack(">HH", 65535, 65535)),
    # 60,000: an item around it has a 16-bit length too (PS3.8 9.3.2.3).
    "H14": item(0x58, b"\x02\x01" + struct.pack(">H", 60_000) + bytes(60_000) + bytes(2)),
}
NOISE_BYTES_MAX = 200
FLIPPED_BYTES_MAX = 5


def hear_out(peer: RawPeer) -> None:
    """Reads what is said until the other side hangs up."""
    while peer.read_pdu()[0]:
        pass


def say_first(name: str) -> Act:
    """An act that says one of FIRST_BYTES and waits to be hung up on."""

    def act(visit: Visit) -> None:
        with visit.connected() as peer:
            peer.send(FIRST_BYTES[name])
            hear_out(peer)

    return act


def propose(**fields: object) -> Act:
    """An act that associates with `fields`, and stores one object where it is let in."""

    def act(visit: Visit) -> None:
        with visit.connected() as peer:
            if peer.associate(**fields)[0] == AC:
                peer.send(message(store_command(), data_set()))
                _hear_answer(peer)
                peer.send(pdu(RELEASE_RQ, bytes(4)))
                peer.read_pdu()

    return act


def fill_declared_length(kind: int) -> Act:
    """An act that declares 2 GiB and goes on to send them, as far as it gets (H1, H2)."""

    def act(visit: Visit) -> None:
        with visit.connected() as peer:
            if kind == P_DATA:
                peer.associate()
            peer.send(struct.pack(">BBI", kind, 0, 0x7FFFFFFF))
            for _ in range(64):
                peer.send(bytes(MIB))

    return act


def say_noise(visit: Visit) -> None:
    """Random bytes: as a PDU inside an association, or a request with some bytes changed (H28)."""
    generator = visit.generator
    with visit.connected() as peer:
        if generator.random() < 0.5:
            peer.associate()
            kind = generator.choice((1, 2, 4, 5, 6, 7, 4, 4))
            peer.send(pdu(kind, generator.randbytes(generator.randrange(NOISE_BYTES_MAX))))
        else:
            body = bytearray(associate_body(called=visit.door.called_ae_title.encode()))
            for _ in range(generator.randrange(1, FLIPPED_BYTES_MAX + 1)):
                body[generator.randrange(len(body))] = generator.randrange(256)
            peer.send(pdu(RQ, bytes(body)))


def _hear_answer(peer: RawPeer) -> None:
    """Reads PDUs until the last fragment of an answer, however small the pieces are (H11)."""
    while True:
        kind, body = peer.read_pdu()
        if kind != P_DATA or len(body) < 6 or body[5] & 2:
            return


def odd_titles() -> tuple[Act, ...]:
    """H10's acts: every calling AE title in turn."""
    return tuple(propose(calling=title) for title in (*NO_TITLES, *ODD_TITLES))


def odd_maximum_lengths() -> tuple[Act, ...]:
    """H11's acts: every maximum length in turn."""
    return tuple(propose(user=user_information(length)) for length in MAXIMUM_LENGTHS)


def odd_user_items(prefix: str) -> tuple[Act, ...]:
    """The acts of H12, H13 or H14: each user item of that name in turn."""
    return tuple(
        propose(user=user_information(more=more))
        for name, more in USER_ITEMS.items()
        if name.startswith(prefix)
    )
