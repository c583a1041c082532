"""Well-formed and nearly well-formed PDUs and command sets to start from. All synthetic.

Invariant: the same list each time. Must not use the product's encoders for what its decoders read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from load.hostile.raw_peer import (
    ABORT,
    AC,
    CT,
    EXPLICIT,
    IMPLICIT,
    P_DATA,
    RELEASE_RQ,
    RQ,
    associate_body,
    context,
    data_set,
    element,
    item,
    pdu,
    pdv,
    store_command,
    user_information,
)
from tests.fuzz.pdu_target import (
    ACCEPT,
    COMMAND,
    FRAGMENTS,
    OWN_REQUESTS,
    REQUEST,
    RESPONSE,
    SHORT_ANSWERS,
    STREAM,
)

VERIFICATION, PUSH_MODEL = "1.2.840.10008.1.1", "1.2.840.10008.1.20.1"
_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{n}" for n in range(50, 70))
# What stands for structure; the mutator puts it where it likes.
TOKENS = (
    *(bytes((kind, 0)) for kind in (0x10, 0x20, 0x21, 0x30, 0x40, 0x50, 0x51, 0x52, 0x55, 0x58)),
    *(bytes((0, 0, number, 0)) for number in (0x00, 0x02, 0x03)),
    b"\0\0\0\x01",  # (0000,0100), and so on
    b"\0\0\x10\x01",
    b"\0\0\x20\x01",
    b"\0\0\0\x08",
    b"\0\0\0\x09",
    b"\0\0\0\x10",
    b"\0\0\x08\x10",
    b"\x04\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\0\0\0\2",
    CT.encode(),
    IMPLICIT.encode(),
    VERIFICATION.encode(),
    b"1.2.840.10008.1.2.2",
)


def seeds() -> Iterator[bytes]:
    """Cases of every kind."""
    for kind, bodies in (
        (REQUEST, _requests()),
        (FRAGMENTS, _p_data()),
        (COMMAND, _commands()),
        (RESPONSE, _responses()),
        (ACCEPT, _accepts()),
        (STREAM, _streams()),
        (SHORT_ANSWERS, iter((b"\1\1\3", b""))),
        (OWN_REQUESTS, iter((b"\x40\0\1\2\3",))),
    ):
        for body in bodies:
            yield bytes((kind,)) + body


def _requests() -> Iterator[bytes]:
    yield associate_body()
    yield associate_body(called=b"\0" * 16, calling=b" A\\B", version=3)
    yield associate_body(called="NÖRD".encode("latin-1"), calling=b"  CT 1  ")
    yield (
        associate_body(contexts=context(9, PUSH_MODEL), version=1)[:3]
        + b"\1"
        + associate_body(contexts=context(9, PUSH_MODEL))[4:]
    )
    three = context(1, VERIFICATION) + context(3, CT, _SYNTAXES) + context(255, PUSH_MODEL)
    yield associate_body(contexts=three)
    yield associate_body(contexts=context(2))
    yield associate_body(contexts=context(1) + context(1))
    yield associate_body(contexts=b"".join(context(n % 256, "1.2", ()) for n in range(1, 260, 2)))
    yield associate_body(contexts=context(1, "1.2.826.0.1.3680043.8.498.99", (EXPLICIT, "x")))
    yield associate_body(contexts=context(1, "1." + "2" * 90, ("1.2.840.10008.1.2.2",)))
    yield associate_body(contexts=context(1, "1.2.840.10008.1.3.10", ("1.2.840.10008.1.2.1.99",)))
    yield associate_body(
        contexts=context(1, "1.2.840.10008.5.1.4.1.2.2.1", ("1.2.840.10008.1.2.4.95",))
    )
    yield associate_body(contexts=context(1, "1.2.840.10008.1.2"))
    yield associate_body(contexts=item(0x20, b"\1\0"))
    yield associate_body(contexts=item(0x99, b"?"), user=user_information(0))
    more = item(0x53, b"\0\2\0\2") + item(0x54, b"\0\x11" + CT.encode() + b"\1\1")
    more += item(0x55, b"SYNTHETIC 1") + item(0x56, b"\0\x11" + CT.encode() + b"\2\0\1")
    more += item(0x58, b"\1\0\0\4name\0\0") + item(0x57, b"\0\3" + b"1.2" + b"\0\0\0\0")
    yield associate_body(user=user_information(0xFFFFFFFF, more))
    yield associate_body(user=item(0x50, item(0x51, b"\0\1")))
    yield associate_body()[:-1]
    yield associate_body()[:71]
    yield associate_body()[:40]


def _p_data() -> Iterator[bytes]:
    yield pdv(1, 3, store_command())
    yield pdv(1, 3, store_command()) + pdv(1, 0, data_set()) + pdv(1, 2, b"")
    yield pdv(3, 0xFF, b"ab")[:-1]
    yield pdv(3, 1, b"ab") + b"\0\0\0\2\3"
    yield struct.pack(">I", 1) + b"\1\2"
    yield b""


def _commands() -> Iterator[bytes]:
    yield store_command()
    yield store_command(instance=None, sop_class=None)
    yield store_command(field=0x0030)
    yield store_command(field=0x8001)
    yield store_command(instance=b"1.2.../ x")
    # N-ACTION-RQ: requested class and instance, action type; C-CANCEL-RQ: the other message's id.
    requested = element(3, PUSH_MODEL.encode()) + element(0x1001, b"1.2.840.10008.1.20.1.1")
    action = element(0x0100, b"\x30\1") + element(0x0110, b"\2\0") + element(0x0800, b"\1\1")
    yield requested + action + element(0x1008, b"\1\0")
    yield element(0x0100, b"\xff\x0f") + element(0x0120, b"\5\0") + element(0x0800, b"\1\1")
    yield element(0x0100, b"\1\0\0") + element(0x0110, b"")
    yield element(0x0016, b"1.2", group=8)
    yield store_command()[:-1]


def _responses() -> Iterator[bytes]:
    body = element(0x0100, b"\1\x80") + element(0x0120, b"\7\0") + element(0x0800, b"\1\1")
    yield body + element(0x0900, b"\0\xa7") + element(0x0902, b"out-of-resources ")
    yield body
    yield store_command()


def _accepts() -> Iterator[bytes]:
    answers = item(0x21, b"\1\0\0\0" + item(0x40, IMPLICIT.encode()))
    refused = item(0x21, b"\3\0\3\0" + item(0x40, b""))
    yield associate_body(contexts=answers)
    yield associate_body(contexts=answers + refused, user=user_information(0))
    yield associate_body(contexts=answers, user=user_information(12))
    yield associate_body(contexts=answers)[:90]


def _streams() -> Iterator[bytes]:
    whole = pdu(RQ, associate_body()) + pdu(P_DATA, pdv(1, 3, store_command()))
    whole += pdu(P_DATA, pdv(1, 2, data_set())) + pdu(RELEASE_RQ, bytes(4))
    # maximum length, length of pieces, KiB of zeros, where they stand
    yield b"\4\x13\0\0\0" + whole
    yield b"\4\0\0\0\0" + whole
    yield b"\4\4\0\0\0" + pdu(RQ, associate_body()) + pdu(ABORT, b"\0\0\0\0")
    yield b"\0\3\0\0\0" + whole
    request = pdu(RQ, associate_body())
    behind = struct.pack(">H", len(request) + 12)
    # A PDU beyond the first buffer, and one that makes it grow again.
    for kib, limit in ((100, b"\x0b"), (255, b"\x0c")):
        long = struct.pack(">BBI", P_DATA, 0, (kib << 10) + 6) + struct.pack(
            ">IBB", (kib << 10) + 2, 1, 2
        )
        yield limit + b"\x10" + bytes((kib,)) + behind + request + long + whole[len(request) :]
    yield b"\4\x13\0\0\0" + pdu(AC, associate_body())
    yield b"\4\x13\0\0\0" + request + pdu(9, b"")
    yield b"\4\x13\0\0\0" + request + pdu(RELEASE_RQ, bytes(5))
    yield b"\4\x13\0\0\0" + request + pdu(RQ, b"again")
    yield b"\4\x13\0\0\0" + struct.pack(">BBI", RQ, 0, 262_145)
    yield b"\0\x13\0\0\0" + request + pdu(P_DATA, bytes(70)) + pdu(P_DATA, bytes(71))
