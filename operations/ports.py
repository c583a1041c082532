"""Which ports of loopback are free, and free ones to choose for a passing server.

Invariant: what is chosen lies below the range of ports that the system gives to clients (Linux:
from 32768), so that no client's connection takes it before the server does, and one process never
chooses a port twice: its servers may not have bound the first yet. It must not hold a port: two
programs that choose at once may choose the same one.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

from contracts.failures import RetryableError

# Above the stack without an offset, below stacks with an offset of 20,000.
PORTS = range(12_000, 28_000)
# Steps with which all of the engines' ports stay below those stacks.
PORT_OFFSETS = range(4_000, 18_900, 50)
_CHOSEN: set[int] = set()
_ENGINE_PORTS = (8081, 8123, 8124, 9000, 9001, 9092, 9093, 9100, 9101)


def is_port_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback now."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier stack that still linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> tuple[int, ...]:
    """That many different free ports. Raises RetryableError when there are not as many."""
    found = tuple(port for _, port in zip(range(count), _free(PORTS), strict=False))
    if len(found) < count:
        raise RetryableError(f"looking for {count} free ports: there are {len(found)}")
    _CHOSEN.update(found)
    return found


def free_port_offset() -> int:
    """An offset at which no engine's port is in use: for engines of a test or a measurement.

    Raises RetryableError when there is none.
    """
    for offset in random.SystemRandom().sample(PORT_OFFSETS, len(PORT_OFFSETS)):
        if all(is_port_free(port + offset) for port in _ENGINE_PORTS):
            return offset
    raise RetryableError("looking for a run of free ports: there is none")


def _free(ports: range) -> Iterator[int]:
    for port in random.SystemRandom().sample(ports, len(ports)):
        if port not in _CHOSEN and is_port_free(port):
            yield port
