"""Sends the same megabyte to a port of loopback until the other side closes.

Invariant: nothing but sends is done, so that the receiving side is what limits.
"""

from __future__ import annotations

import argparse
import contextlib
import socket

BLOCK_BYTES = 1024 * 1024
CONNECT_TIMEOUT_S = 10.0


def main() -> None:
    """Ends when the connection does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    block = bytes(range(256)) * (BLOCK_BYTES // 256)
    address = ("127.0.0.1", parser.parse_args().port)
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection(address, CONNECT_TIMEOUT_S) as connection,
    ):
        connection.settimeout(None)
        while True:
            connection.sendall(block)


if __name__ == "__main__":
    main()
