"""What the gateway must say to a raw peer: the good one's 0000, the bad one's A-ABORT."""

from __future__ import annotations

import ssl

from load.hostile.raw_peer import (
    ABORT,
    AC,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    data_set,
    pdu,
    store_command,
)


def good_store(port: int, tls: ssl.SSLContext | None = None) -> None:
    """A sender that keeps the rules is answered 0000."""
    with RawPeer(port, tls=tls) as good:
        assert good.associate()[0] == AC
        assert good.store(store_command(), data_set()) == 0
        good.send(pdu(RELEASE_RQ, bytes(4)))
        assert good.read_pdu() == (RELEASE_RP, bytes(4))


def ended_with_abort(peer: RawPeer, reason: int) -> None:
    kind, body = peer.read_pdu()
    assert (kind, body) == (ABORT, bytes((0, 0, 2, reason)))
    assert peer.read_pdu() == (0, b"")
