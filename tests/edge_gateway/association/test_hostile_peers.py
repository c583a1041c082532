"""Every hostile peer of the design's list, as a crowd, in plain text and over TLS."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from edge_gateway.association import AssociationLimits
from load.hostile.catalogue import HOSTILE
from load.hostile.crowd import Crowd
from load.hostile.peer import Door, Visit
from load.hostile.slow import CONNECTS, SLOW_ASSOCIATIONS, open_association, open_crowd, send_slowly
from tests.edge_gateway.association.both_doors import behind_door
from tests.edge_gateway.association.raw_peer import good_store
from tests.edge_gateway.running_gateway import (
    DEADLINE_S,
    RunningGateway,
    eventually,
    nothing_left_behind,
)

SEED = 7
GOOD_STORES = 3


@pytest.fixture(scope="module", params=["plain", "tls"])
def visited(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningGateway, Door]]:
    """A gateway that lives through all of them, and its door."""
    limits = AssociationLimits(request_timeout_s=20.0)
    with behind_door(request.param, tmp_path_factory.mktemp("visited"), limits) as found:
        yield found.gateway, found.door


@pytest.mark.parametrize("key", HOSTILE)
def test_a_good_sender_beside_a_crowd_is_answered_and_nothing_stays(
    visited: tuple[RunningGateway, Door], key: str
) -> None:
    gateway, door = visited
    peer = HOSTILE[key]
    with nothing_left_behind(gateway):
        crowd = Crowd(peer, door, SEED)
        crowd.start()
        try:
            for _ in range(GOOD_STORES):
                good_store(door.port, door.tls)
            eventually(lambda: crowd.turns >= max(len(peer.acts), peer.threads))
            good_store(door.port, door.tls)
        finally:
            crowd.stop()
    good_store(door.port, door.tls)


def patient_visit(door: Door) -> Visit:
    """For peers that only are many: each is answered, whatever else the machine does."""
    patient = replace(door, answer_timeout_s=DEADLINE_S)
    return Visit(patient, time.monotonic() + 2 * DEADLINE_S, random.Random(SEED))


def test_200_associations_that_send_slowly_are_all_answered(
    visited: tuple[RunningGateway, Door],
) -> None:
    """H30; 50 s are made 1, the number is the design's."""
    gateway, door = visited
    before = len(gateway.deliveries())
    visit = patient_visit(door)
    with nothing_left_behind(gateway):
        peers = [open_association(visit, number) for number in range(SLOW_ASSOCIATIONS)]
        good_store(door.port, door.tls)
        assert send_slowly(peers, visit, 1.0) == [0] * SLOW_ASSOCIATIONS
        visit.close_all()
    assert len(gateway.deliveries()) == before + SLOW_ASSOCIATIONS + 1


def test_2000_connects_keep_nobody_out(visited: tuple[RunningGateway, Door]) -> None:
    """H29, all of them."""
    gateway, door = visited
    visit = patient_visit(door)
    with nothing_left_behind(gateway):
        assert open_crowd(visit) == CONNECTS
        good_store(door.port, door.tls)
        visit.close_all()
