"""A receiver to be killed: stores for ever, and tells each acknowledgement on its output.

Invariant: a line is written only after `commit` returned. Must be run as a process of its own:
`python -m tests.edge_gateway.spool.killed_receiver DIRECTORY`.
"""

from __future__ import annotations

import os
import random
import sys
import threading
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


def main() -> None:
    spool = Spool.open(Path(sys.argv[1]), "north", SMALL_SEGMENTS)
    threads = [
        threading.Thread(target=associate, args=(spool, f"{os.getpid()}-{n}"))
        for n in range(ASSOCIATIONS)
    ]
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main()
