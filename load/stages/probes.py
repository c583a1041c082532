"""What a running stack tells of itself: its processes, and the flushes of its gateways' spools.

Invariant: one question a gateway, before and after a run, never while it goes. A gateway that
does not answer has no figure.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request

from load.stages.resources import Look, look_at
from load.stages.running import RunningStack
from operations import stack as stacks

METRICS_TIMEOUT_S = 5.0
_FLUSHES = re.compile(r"^hilum_spool_flush_total(?:\{[^}]*\})? (?P<count>[0-9.e+]+)$", re.MULTILINE)


def look(stack: RunningStack) -> Look:
    """Every process that runs now, the disk, and the flushes of all gateways' spools."""
    pids = {
        process.name: process.pid
        for process in stacks.process_list(stack.options)
        if process.pid is not None
    }
    return look_at(pids, stack.directory, spool_flushes(stack))


def spool_flushes(stack: RunningStack) -> int | None:
    """Flushes of all spools since their processes began; None where a gateway does not tell."""
    counts = [_flushes_of(gateway.bind, gateway.http_port)
              for gateway in stack.settings.gateways.values()]  # fmt: skip
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _flushes_of(host: str, port: int) -> int | None:
    try:
        url = f"http://{host}:{port}/metrics"
        with urllib.request.urlopen(url, timeout=METRICS_TIMEOUT_S) as answer:
            text = answer.read().decode("utf-8", "replace")
    except (urllib.error.URLError, OSError):
        return None
    found = _FLUSHES.search(text)
    return round(float(found["count"])) if found else None
