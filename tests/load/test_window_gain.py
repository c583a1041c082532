"""The far link delays and changes nothing, and the measurement of a window runs on it."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
import time

from load.delayed_link import delayed_link
from operations.context import CHECKOUT

DELAY_S = 0.1
MEASURED_WITHIN_S = 240


def send_back(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        while data := connection.recv(65_536):
            connection.sendall(data)


def test_bytes_come_back_whole_and_not_before_their_time() -> None:
    sent = random.Random(7).randbytes(3_000_000)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        echo = threading.Thread(target=send_back, args=(listener,))
        echo.start()
        with (
            delayed_link("127.0.0.1", listener.getsockname()[1], DELAY_S) as port,
            socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
        ):
            begun_s = time.monotonic()
            sender = threading.Thread(target=connection.sendall, args=(sent,))
            sender.start()
            received = connection.recv(65_536)
            assert time.monotonic() - begun_s >= 2 * DELAY_S
            while len(received) < len(sent):
                received += connection.recv(65_536)
            sender.join()
        echo.join(60)
    assert received == sent and not echo.is_alive()


def test_the_gain_is_measured_against_a_running_gateway() -> None:
    """It ends with an error where a window was not negotiated or an instance not taken."""
    command = [sys.executable, "-m", "load.window_gain", "--kind", "ct-small", "--pairs", "1"]
    done = subprocess.run(
        [*command, "--seconds", "0.5"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=MEASURED_WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ")[:2] for line in done.stdout.splitlines()[1:]]
    assert rows == [["| ct-small", "near"], ["| ct-small", "far"]]
