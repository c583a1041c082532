"""The spools of several workers leave by one forwarder, also those whose worker is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from contracts.events import CustodyState
from edge_gateway.spool import FileSystem, Spool, SpoolLimits
from edge_gateway.spool.family import worker_directory
from infra.settings import Settings
from tests.edge_gateway.centre_side import Centre, archived
from tests.edge_gateway.forwarding import MIB, eventually, forwarder_settings
from tests.edge_gateway.gateway_fixtures import StartForwarder, north_settings, start_forwarder
from tests.edge_gateway.modality import Modality

__all__ = ["north_settings", "start_forwarder"]
STUDY = "1.2.826.0.1.3680043.8.498.300"
LIMITS = SpoolLimits(
    segment_bytes=MIB,
    object_in_memory_bytes_max=128 * 1024,
    spool_bytes_max=1 << 30,
    free_bytes_min=0,
)


class Workers:
    """Modalities at the workers of gateway north, as many as the test asks for."""

    def __init__(self, directory: Path, held: ExitStack) -> None:
        self.directory = directory
        self._held = held
        self.gateway_id = ""

    def open(self, worker: int) -> Modality:
        """A modality that is served by this worker; its directory is made where it is not."""
        path = self.directory_of(worker)
        spool = Spool.open(path, "north", LIMITS, gateway_directory=self.directory)
        self.gateway_id = spool.identity.gateway_id
        self._held.callback(spool.close)
        return Modality(spool)

    def directory_of(self, worker: int) -> Path:
        return worker_directory(self.directory, worker)

    def files(self, worker: int, kind: str) -> list[str]:
        return FileSystem().names(self.directory_of(worker) / kind)


@pytest.fixture
def workers(north_settings: Settings) -> Iterator[Workers]:
    with ExitStack() as held:
        yield Workers(north_settings.gateways["north"].spool.directory, held)


@pytest.fixture
def modality(workers: Workers) -> Modality:
    """At worker 1."""
    return workers.open(1)


@pytest.fixture
def centre(north_settings: Settings, modality: Modality, workers: Workers) -> Iterator[Centre]:
    found = Centre(north_settings, workers.gateway_id)
    yield found
    found.close()


def test_all_spools_leave_also_one_that_comes_later_and_in_the_order_of_time(
    north_settings: Settings,
    modality: Modality,
    centre: Centre,
    workers: Workers,
    start_forwarder: StartForwarder,
) -> None:
    second = workers.open(2)
    # A study that is sent over both: what came first goes first, whichever spool it lies in.
    first_id, second_id = modality.associate(), second.associate()
    order = []
    for _ in range(20):
        order.append(modality.store(first_id, STUDY).delivery_id)
        order.append(second.store(second_id, STUDY).delivery_id)
    large = second.store(second_id, STUDY, MIB).delivery_id  # a file of its own
    modality.release(first_id)
    second.release(second_id)
    process = start_forwarder(north_settings)
    eventually(lambda: len(centre.received()) == 41, "published")
    assert [event.delivery_id for event in centre.received()] == [*order, large]
    for event in centre.received():
        stored = modality.stored | second.stored
        assert centre.payload(event) == stored[event.delivery_id]
        assert event.gateway_id == centre.gateway_id
    third = workers.open(3)
    third.store_study(f"{STUDY}.3", 5)
    eventually(lambda: set(third.order) <= centre.received_ids(), "of the third")
    eventually(lambda: len([r for r in centre.receipts() if r.ended]) == 3, "closed")
    centre.await_state(
        lambda told: (
            not told.receipts_unpublished and sum(each.deliveries for each in told.totals) == 46
        ),
        "all of the three is told",
    )
    assert process.stop() == 0
    # A later start goes on where each spool stood.
    more = third.store_study(f"{STUDY}.4", 2)
    start_forwarder(north_settings)
    eventually(lambda: set(more) <= centre.received_ids(), "went on")
    assert len(centre.received()) == 48


def test_a_spool_whose_worker_is_gone_is_drained_and_taken_away(
    north_settings: Settings,
    modality: Modality,
    centre: Centre,
    workers: Workers,
    start_forwarder: StartForwarder,
) -> None:
    gone = workers.open(2)
    gone.store_study(STUDY, 30, 90_000)
    large = gone.store_study(f"{STUDY}.1", 1, MIB)
    modality.store_study(f"{STUDY}.2", 30, 90_000)
    settings = forwarder_settings(north_settings, workers=1, spool={"hold_s": 0})
    start_forwarder(settings)
    eventually(lambda: len(centre.received()) == 61, "published")
    late = [event for event in centre.received() if event.delivery_id in large]
    others = [event for event in centre.received() if event.delivery_id not in large]
    centre.say_custody(CustodyState.ARCHIVED, archived(others))
    eventually(lambda: centre.deliveries_in("purged") == 60, "purged")
    # Recycled where somebody writes, given back where nobody does; one is still needed.
    eventually(lambda: bool(workers.files(1, "free")), "recycled")
    eventually(lambda: len(workers.files(2, "segments")) <= 2, "given back")
    assert workers.files(2, "objects") == [f"{large[0]}.ds"]
    assert not workers.files(2, "free")
    centre.say_custody(CustodyState.ARCHIVED, archived(late))
    # Not while a worker holds it, and at once when that one is gone.
    eventually(lambda: centre.deliveries_in("purged") == 61, "purged")
    count = len(centre.states())
    eventually(lambda: len(centre.states()) > count + 6, "time has passed")
    assert workers.directory_of(2).exists()
    gone.spool.close()
    eventually(lambda: not workers.directory_of(2).exists(), "taken away")
    # One that comes under the same number is another one.
    again = workers.open(2).store_study(f"{STUDY}.3", 3)
    eventually(lambda: set(again) <= centre.received_ids(), "of the new one")
