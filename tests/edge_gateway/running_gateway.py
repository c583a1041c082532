"""A real gateway for tests: its receive side on port 0 over a real spool."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.association import AssociationLimits
from edge_gateway.receive import Receiver, association_limits, spool_limits
from edge_gateway.scu import Peer
from edge_gateway.scu import echo as scu_echo
from edge_gateway.spool import (
    AssociationClosed,
    Entry,
    Receipt,
    Spool,
    SpooledDelivery,
    SpoolReader,
)
from infra.settings import GatewaySettings

MIB = 1024 * 1024
AE_TITLE = "NORTH"
LOOPBACK_ONLY = ({"calling_ae_title": "*", "network": "127.0.0.0/8"},)
# A machine that does other things as well keeps everything waiting, at times for many seconds.
DEADLINE_S = 120.0


def eventually(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Polls until `condition` holds; fails the test when it does not in time."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


def echo(peer: Peer) -> int:
    """The status of a C-ECHO, as patient as the tests are."""
    return scu_echo(peer, DEADLINE_S)


def gateway_settings(directory: Path, **overrides: Any) -> GatewaySettings:
    """Settings of one gateway on loopback; `spool` keys are merged, others replaced."""
    tree: dict[str, Any] = {
        "site": "north",
        "ae_title": AE_TITLE,
        "dicom_port": 0,
        "http_port": 0,
        "admit": LOOPBACK_ONLY,
        "spool": {"directory": directory, "segment_bytes": 4 * MIB, "free_bytes_min": 0},
    }
    tree["spool"] |= overrides.pop("spool", {})
    return GatewaySettings.model_validate(tree | overrides)


@dataclass(frozen=True)
class RunningGateway:
    """A started receiver, and what its spool has to say."""

    receiver: Receiver
    spool: Spool
    directory: Path

    @property
    def port(self) -> int:
        return self.receiver.addresses.dicom_port

    def peer(self, calling: str = "TESTER", called: str = AE_TITLE, **more: Any) -> Peer:
        return Peer("127.0.0.1", self.port, called, calling, **more)

    def entries(self) -> list[Entry]:
        return [entry for entry, _ in stored(self.directory)]

    def deliveries(self) -> list[tuple[SpooledDelivery, bytes]]:
        """What is durable, in the order of acceptance, with its bytes."""
        found = stored(self.directory)
        return [(entry, body) for entry, body in found if isinstance(entry, SpooledDelivery)]

    def receipts(self) -> list[Receipt]:
        return [entry for entry in self.entries() if isinstance(entry, Receipt)]

    def closed(self) -> list[AssociationClosed]:
        return [entry for entry in self.entries() if isinstance(entry, AssociationClosed)]


def stored(directory: Path) -> list[tuple[Entry, bytes]]:
    """Every record of a spool, deliveries with their bytes, verified."""
    reader = SpoolReader(directory)
    found: list[tuple[Entry, bytes]] = []
    while records := reader.poll(500):
        for record in records:
            body = b""
            if isinstance(record.entry, SpooledDelivery):
                with reader.open_body(record.entry, record.location) as opened:
                    body = b"".join(bytes(chunk) for chunk in opened.chunks(MIB))
            found.append((record.entry, body))
    reader.close()
    return found


@contextmanager
def running_gateway(
    directory: Path, limits: AssociationLimits | None = None, **overrides: Any
) -> Iterator[RunningGateway]:
    """A gateway that accepts until the block ends; without `limits` patient with handshakes."""
    settings = gateway_settings(directory, **overrides)
    limits = limits or replace(association_limits(settings), request_timeout_s=DEADLINE_S)
    with Spool.open(directory, settings.site, spool_limits(settings)) as spool:
        receiver = Receiver(settings, spool, limits)
        receiver.start()
        try:
            yield RunningGateway(receiver, spool, directory)
        finally:
            receiver.stop()


def await_segment_ahead(spool: Spool) -> None:
    """Returns when the thread that lays out segments rests: it opens, flushes and renames."""
    eventually(lambda: bool(spool._parts.supply._ready))


def association_threads() -> int:
    return sum(thread.name == "association" for thread in threading.enumerate())


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def nothing_left_behind(gateway: RunningGateway) -> Iterator[None]:
    """No thread, descriptor, object file or spool memory more than before, after the block.

    It begins when the next segment is laid out: that one's descriptor stays open from then on.
    """
    objects = gateway.directory / "objects"

    def inventory() -> tuple[int, int, int, int]:
        return (
            association_threads(),
            open_descriptors(),
            len(list(objects.iterdir())),
            gateway.spool.statistics().memory_bytes,
        )

    await_segment_ahead(gateway.spool)
    before = inventory()
    yield
    try:
        eventually(lambda: all(now <= then for now, then in zip(inventory(), before, strict=True)))
    except AssertionError:
        told = "association threads, descriptors, object files, bytes of memory"
        pytest.fail(f"left behind ({told}): {before}, then {inventory()}")
