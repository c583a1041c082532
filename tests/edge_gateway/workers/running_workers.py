"""A real gateway with worker processes for tests: acceptor in a thread, workers as they are.

Invariant: no process of it is left behind, however the test ends.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_gateway.association import AssociationLimits
from edge_gateway.spool import AssociationClosed, FileSystem, SpooledDelivery
from edge_gateway.spool.family import worker_directories
from edge_gateway.workers.acceptor import AcceptorProcess
from edge_gateway.workers.gateway_process import make_process
from tests.edge_gateway.running_gateway import (
    DEADLINE_S,
    eventually,
    gateway_settings,
    stored,
)

# As patient with handshakes as the tests are with a machine that does other things as well.
PATIENT = AssociationLimits(request_timeout_s=DEADLINE_S)


@dataclass(frozen=True)
class RunningWorkers:
    """A started gateway, and what its spools have to say."""

    process: AcceptorProcess
    directory: Path

    @property
    def port(self) -> int:
        return self.process.addresses.dicom_port

    @property
    def process_ids(self) -> dict[int, int | None]:
        return {child.number: child.process_id for child in self.process.children}

    @property
    def counts(self) -> dict[int, int]:
        return self.process.connections

    @property
    def associations(self) -> int:
        return self.process.associations

    def kill(self, worker: int) -> None:
        """Ends one worker at once, as the kernel would that has no memory left."""
        process_id = self.process_ids[worker]
        assert process_id is not None
        os.kill(process_id, signal.SIGKILL)

    def metric(self, name: str, **labels: str) -> float:
        value = self.process.metrics.registry.get_sample_value(name, labels)
        return value or 0.0

    def await_all(self) -> None:
        """Returns when every worker serves."""
        eventually(lambda: all(child.is_serving for child in self.process.children))


def deliveries_of(directory: Path) -> dict[int, list[tuple[SpooledDelivery, bytes]]]:
    """What is durable in each worker's spool, with its bytes, verified."""
    return {
        worker: [
            (entry, body) for entry, body in stored(path) if isinstance(entry, SpooledDelivery)
        ]
        for worker, path in worker_directories(FileSystem(), directory).items()
    }


def endings_of(directory: Path) -> dict[int, list[AssociationClosed]]:
    """How the associations in each worker's spool ended."""
    return {
        worker: [entry for entry, _ in stored(path) if isinstance(entry, AssociationClosed)]
        for worker, path in worker_directories(FileSystem(), directory).items()
    }


@contextmanager
def running_workers(
    directory: Path, workers: int, limits: AssociationLimits = PATIENT, **overrides: Any
) -> Iterator[RunningWorkers]:
    """A gateway of so many workers, all of which serve, that accepts until the block ends."""
    settings = gateway_settings(directory, workers=workers, **overrides)
    process = make_process(settings, "north", "info", limits=limits)
    # The workers die with this thread, as they do with an acceptor's process.
    thread = threading.Thread(target=process.run, name="acceptor", daemon=True)
    thread.start()
    try:
        eventually(lambda: process.readiness().is_ready)
        gateway = RunningWorkers(process, directory)
        gateway.await_all()
        yield gateway
    finally:
        process.stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


@contextmanager
def nothing_left_behind(gateway: RunningWorkers) -> Iterator[None]:
    """No connection, association, thread or descriptor of a worker more than before, after it."""
    processes = [psutil.Process(number) for number in gateway.process_ids.values() if number]

    def inventory() -> list[int]:
        held = [gateway.associations, sum(gateway.counts.values())]
        for process in processes:
            held += [process.num_threads(), process.num_fds()]
        return held

    _await_rest(inventory)
    before = inventory()
    yield
    try:
        eventually(lambda: all(now <= then for now, then in zip(inventory(), before, strict=True)))
    except AssertionError:
        told = "associations, connections, then threads and descriptors of each worker"
        pytest.fail(f"left behind ({told}): {before}, then {inventory()}")


def _await_rest(inventory: Any) -> None:
    """Segments that are laid out open and close descriptors: until nothing changes for a while."""
    since, last = time.monotonic(), inventory()

    def rests() -> bool:
        nonlocal since, last
        now = inventory()
        if now != last:
            since, last = time.monotonic(), now
        return time.monotonic() - since > 1.0

    eventually(rests)
