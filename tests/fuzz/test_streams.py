"""What stands for a connection in the fuzzer gives the same PDUs as a real one over TCP."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from edge_gateway.association.connection import Connection
from tests.fuzz.pdu_target import STREAM, PiecewiseConnection, read_stream, stream_of
from tests.fuzz.targets import PDU

CASES = [case for case in PDU.seeds() if case[0] == STREAM]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{len(case)}-bytes")
def test_a_real_connection_gives_the_same(case: bytes) -> None:
    data, piece_bytes, pdu_bytes_max = stream_of(case[1:])
    expected = read_stream(PiecewiseConnection(data, max(piece_bytes, 64)), pdu_bytes_max)
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname(), timeout=60)
        accepted, _ = server.accept()
        connection = Connection(accepted, "127.0.0.1", None)
        sender = threading.Thread(target=_say, args=(peer, data))
        sender.start()
        try:
            assert read_stream(connection, pdu_bytes_max) == expected
        finally:
            connection.close()
            sender.join()
            peer.close()


def _say(peer: socket.socket, data: bytes) -> None:
    # The other side closes as soon as it has seen enough.
    with contextlib.suppress(OSError):
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
