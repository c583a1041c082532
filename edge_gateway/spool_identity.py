"""Whose spool a directory is, for the processes that work beside its receiver.

Invariant: only the receiver mints an identity; everybody else waits for it.
"""

from __future__ import annotations

import threading
from pathlib import Path

from edge_gateway.forward_health import ForwardHealth
from edge_gateway.spool import GatewayIdentity, SpoolReader
from infra.clock import Clock

IDENTITY_WAIT_S = 0.5


def await_identity(
    directory: Path, health: ForwardHealth, clock: Clock, stop: threading.Event
) -> GatewayIdentity | None:
    """Whose spool this is, as soon as the receiver has made it; None when asked to stop before.

    Raises SpoolCorrupt, SpoolMismatch.
    """
    reader = SpoolReader(directory)
    while not stop.is_set():
        identity = reader.identity()
        if identity is not None:
            health.clear("spool")
            return identity
        health.impede("spool", "waiting for the gateway's first start, which makes the spool")
        clock.wait(stop, IDENTITY_WAIT_S)
    return None
