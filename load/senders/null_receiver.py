"""A receiver in a process of its own that drops everything: what a sender's ceiling is taken at.

Invariant: it ends with its block. Must not be a peer in any comparison.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from contracts.failures import FatalError
from load.senders.model import Target
from load.senders.worker_process import SOURCE_ROOT

_AE_TITLE = "NULL"
_END_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class NullReceiver:
    """A null receiver that runs."""

    target: Target
    process_id: int


@contextmanager
def running_null_receiver(
    *, window: int = 1, pdu_bytes: int = 256 * 1024
) -> Iterator[NullReceiver]:
    """Runs one on a free port of loopback; it negotiates a window up to `window`.

    Raises FatalError where it does not come up.
    """
    command = [sys.executable, "-m", "load.lean_worker.null_receiver"]
    command += ["--window", str(window), "--pdu-bytes", str(pdu_bytes)]
    with subprocess.Popen(command, cwd=SOURCE_ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            if not line.isdigit():
                raise FatalError("starting the null receiver: it named no port")
            yield NullReceiver(Target("127.0.0.1", int(line), _AE_TITLE), process.pid)
        finally:
            process.terminate()
            try:
                process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
