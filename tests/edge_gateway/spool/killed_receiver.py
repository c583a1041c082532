"""A receiver to be killed: stores for ever, and tells each acknowledgement on its output.

Invariant: a line is written only after `commit` returned. Must be run as a process of its own,
`python -m tests.edge_gateway.spool.killed_receiver DIRECTORY`: for each line on its input it forks
a receiver, writes `pid N`, and `ended` once that is gone. So a kill costs no start of Python.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from edge_gateway.spool import Spool
from tests.edge_gateway.spool.workload import SMALL_SEGMENTS, opened, receipt, store

ASSOCIATIONS = 6
SIZES_BYTES = (100, 700, 3000, 8000, 20_000, 70_000)


def associate(spool: Spool, name: str) -> None:
    spool.association_opened(opened(name))
    chance = random.Random(name)
    while True:
        delivery = store(spool, chance.choice(SIZES_BYTES), name)
        # One small write to a pipe is whole or absent, whenever the kill comes.
        os.write(1, f"{delivery.delivery_id}\n".encode())
        spool.append_receipt(receipt(delivery))


def receive(directory: Path) -> None:
    """Runs until it is killed, or until nobody reads what it tells."""
    spool = Spool.open(directory, "north", SMALL_SEGMENTS)
    threads = [
        threading.Thread(target=associate, args=(spool, f"{os.getpid()}-{n}"))
        for n in range(ASSOCIATIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def nurse(live: Callable[[], None]) -> None:
    """For each line on the input a child that lives until it is killed, and then says so."""
    while sys.stdin.readline():
        pid = os.fork()
        if not pid:
            live()
            os._exit(1)
        os.write(1, f"pid {pid}\n".encode())
        os.waitpid(pid, 0)
        os.write(1, b"ended\n")


if __name__ == "__main__":
    nurse(lambda: receive(Path(sys.argv[1])))
