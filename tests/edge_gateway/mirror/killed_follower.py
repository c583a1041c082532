"""A mirror's follower to be killed: copies and confirms until it dies.

Invariant: it is the loop of the mirror process itself. Must be run as a process of its own,
`python -m tests.edge_gateway.mirror.killed_follower FIRST SECOND`: for each line on its input it
forks a follower, writes `pid N`, and `ended` once that is gone. So a kill costs no start of Python.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from edge_gateway.forward_health import ForwardHealth
from edge_gateway.levels import MIRROR_SOCKET_NAME
from edge_gateway.mirror.copying import Copying
from edge_gateway.mirror.desk import MirrorDesk
from edge_gateway.mirror.follower import Follower
from edge_gateway.mirror.mirror_spool import MirrorSpool
from edge_gateway.spool import SpoolReader
from infra.clock import SystemClock
from infra.telemetry import Metrics
from tests.edge_gateway.mirror.mirrored import LIMITS
from tests.edge_gateway.spool.killed_receiver import nurse


def follow(first: Path, second: Path) -> None:
    """Runs until it is killed."""
    identity = SpoolReader(first).identity()
    assert identity is not None
    with MirrorSpool(second, identity, LIMITS) as mirror:
        follower = Follower(first, mirror)
        desk = MirrorDesk(follower, SystemClock())
        desk.open(first, MIRROR_SOCKET_NAME)
        copying = Copying(follower, desk, ForwardHealth(), SystemClock(), Metrics())
        copying.run(threading.Event(), lambda: True)


if __name__ == "__main__":
    nurse(lambda: follow(Path(sys.argv[1]), Path(sys.argv[2])))
