"""How many worker processes a gateway has, where no setting says so.

Invariant: a machine of one or two cores keeps one process, as there is nothing to win. Must not
look at the load.
"""

from __future__ import annotations

import os

from infra.settings import GatewaySettings

# The rest is for the forwarder and whatever else the machine does.
CORES_EACH = 2
BY_CORES_MAX = 8


def worker_count(gateway: GatewaySettings) -> int:
    """The setting, or one for each two cores that this process may use, 1 to 8.

    One where a mirror or a quota follows the spool: it follows one log.
    """
    if gateway.workers is not None:
        return gateway.workers
    if gateway.one_log_for:
        return 1
    return max(1, min(BY_CORES_MAX, len(os.sched_getaffinity(0)) // CORES_EACH))
