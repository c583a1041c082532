"""Our receive process with a sleep before each answer: what a comparison must be able to find.

Invariant: everything but the sleep is the gateway's own; what is acknowledged is as durable. Must
not be started for anything but a check of the instrument.
"""

from __future__ import annotations

import argparse
import signal
import threading
import time
from pathlib import Path

from edge_gateway.receive import Receiver, spool_limits
from edge_gateway.spool import Receipt, Spool
from infra.settings import load
from infra.telemetry import configure_logging


class SleepingSpool(Spool):
    """Sleeps where the answer is noted: after the flush, in the thread of the association."""

    delay_s = 0.0

    def append_receipt(self, receipt: Receipt) -> None:
        """Records an answer, `delay_s` late."""
        time.sleep(self.delay_s)
        super().append_receipt(receipt)


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--delay-ms", type=float, required=True)
    arguments = parser.parse_args()
    settings = load(arguments.settings)
    configure_logging("slowed-receive", settings.log_level)
    gateway = settings.gateway(arguments.gateway)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    limits = spool_limits(gateway)
    SleepingSpool.delay_s = arguments.delay_ms / 1000
    with SleepingSpool.open(gateway.spool.directory, gateway.site, limits) as spool:
        receiver = Receiver(gateway, spool)
        receiver.start()
        stop.wait()
        receiver.stop()


if __name__ == "__main__":
    main()
