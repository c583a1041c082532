"""Brokers killed in turns under load: nothing lost, nothing double, the order kept (I1, I2, I3)."""

from __future__ import annotations

import random
import time

import pytest

from tests.consumers.bus import eventually
from tests.faults.cluster.three_brokers import BROKERS, Cluster
from tests.faults.cluster.whole_way import CONSUMERS, WholeWay
from tests.faults.laboratory import Record

SEED = 20261127
WITHIN_S = 180.0
# On an idle machine a turn takes some ten seconds.
pytestmark = pytest.mark.timeout(900)


def kill_in_turns(cluster: Cluster, way: WholeWay, turns: list[int]) -> list[float]:
    """Kills one broker after the other; seconds until deliveries came through again, of each."""
    return [kill_one(cluster, way, broker) for broker in turns]


def kill_one(cluster: Cluster, way: WholeWay, broker: int) -> float:
    """Kills one and has it back in sync; seconds until deliveries came through without it."""
    before = way.published()
    began = time.monotonic()
    cluster.kill(broker)
    eventually(lambda: way.published() > before, f"going on without {broker}", WITHIN_S)
    recovered_s = round(time.monotonic() - began, 1)
    cluster.start(broker)
    cluster.heal()
    cluster.wait_in_sync(way.settings.kafka)
    return recovered_s


def check_whole(way: WholeWay) -> None:
    eventually(way.is_through, "all published, archived and indexed", WITHIN_S)
    way.require_order()
    way.require_exact()


def test_brokers_killed_in_turns_lose_nothing_and_double_nothing(
    cluster: Cluster, whole_way: WholeWay
) -> None:
    turns = random.Random(SEED).sample(BROKERS, 2)
    print(f"seed {SEED}: {turns}")
    whole_way.forward()
    for name in CONSUMERS:
        whole_way.consume(name)
    with whole_way.storing():
        eventually(lambda: whole_way.published() > 0, "the first deliveries", WITHIN_S)
        recovered_s = kill_in_turns(cluster, whole_way, turns)
    began = time.monotonic()
    check_whole(whole_way)
    print(
        f"{len(whole_way.modality.order)} deliveries, published again after {recovered_s} s, "
        f"all through {time.monotonic() - began:.1f} s after the last one, "
        f"{whole_way.repeated()} repeated on the wire"
    )


@pytest.mark.soak
def test_brokers_killed_every_ten_seconds_for_ten_minutes(
    cluster: Cluster, whole_way: WholeWay, record_property: Record
) -> None:
    source = random.Random(SEED)
    record_property("seed", SEED)
    print(f"seed {SEED}")
    whole_way.forward()
    for name in CONSUMERS:
        whole_way.consume(name)
    until = time.monotonic() + 600
    recovered_s: list[float] = []
    with whole_way.storing():
        while time.monotonic() < until:
            recovered_s += kill_in_turns(cluster, whole_way, [source.choice(BROKERS)])
    check_whole(whole_way)
    figure = (
        f"{len(recovered_s)} kills, {len(whole_way.modality.order)} deliveries, published again "
        f"after {max(recovered_s)} s at most, {whole_way.repeated()} repeated on the wire"
    )
    print(figure)
    record_property("figure", f"{figure}, 0 lost, 0 double")
