"""Our gateway made slow on purpose, to prove that a comparison finds it.

A program that embeds the gateway's Receiver, not a proxy in front of it: a proxy would copy every
byte and take a core of its own, and a comparison could find that instead of the sleep.

Invariant: apart from `DELAY_MS` before each answer it is the gateway. It is no peer and stands in
no goals table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from load.receivers.hilum import DEFAULTS, RunningHilum, run_gateway

PROGRAM = "load.receivers.programs.slowed_receive"
DELAY_MS = 10.0


@contextmanager
def run_slowed(
    directory: Path, delay_ms: float = DELAY_MS, spool: Mapping[str, int] = DEFAULTS
) -> Iterator[RunningHilum]:
    """The gateway, answering each C-STORE `delay_ms` later than it could; `spool` as of ours."""
    command = [sys.executable, "-m", PROGRAM, "--delay-ms", str(delay_ms)]
    with run_gateway("slowed", command, directory, spool) as running:
        yield running
