"""Receivers that are measured beside each other, and the limits of the machine below them.

    for receiver in RECEIVERS.values():
        if receiver.version() is None: ...           # named as not measured, never an exception
        with receiver.running(directory) as running:
            send(running.target); running.cpu_s(); running.clear()

What is listed in `__all__` is the whole surface.
"""

from load.receivers.limits import (
    disk_write_rate,
    fdatasync_rate,
    loopback_copy_rate,
    own_write_pattern,
)
from load.receivers.receiver import Receiver, RunningReceiver
from load.receivers.registry import RECEIVERS

__all__ = [
    "RECEIVERS",
    "Receiver",
    "RunningReceiver",
    "disk_write_rate",
    "fdatasync_rate",
    "loopback_copy_rate",
    "own_write_pattern",
]
