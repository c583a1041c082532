"""A consumer that is killed between its first write and the commit: `NAME SETTINGS.json`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from consumers.catalog import spec_of
from consumers.runner import Runner
from consumers.spec import Record, Rejection, Writer
from infra import group_membership
from infra.connect import connect
from infra.settings import validate
from infra.telemetry import Metrics
from tests.consumers.world import SMALL_BATCHES

SESSION_TIMEOUT_MS = 6_000  # group.min.session.timeout.ms of a stock broker


class LastWrite:
    """Writes one batch and does not live to see it committed."""

    def __init__(self, inner: Writer) -> None:
        self._inner = inner

    def write(self, batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        self._inner.write(batch)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed")

    def tick(self) -> None:
        self._inner.tick()

    def close(self) -> None:
        self._inner.close()


def main() -> None:
    """Runs until its end."""
    # The next member waits for the end of this one's session: the shortest that a broker grants.
    group_membership.SESSION_TIMEOUT_MS = SESSION_TIMEOUT_MS
    name, path = sys.argv[1:]
    spec = spec_of(name)
    settings = validate(json.loads(Path(path).read_text()), path)
    engines = connect(settings, name, Metrics())
    killed = replace(spec, build=lambda given: LastWrite(spec.build(given)))
    Runner(killed, engines, SMALL_BATCHES, threading.Event()).run()


if __name__ == "__main__":
    main()
