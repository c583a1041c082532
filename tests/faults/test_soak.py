"""The long forms: `./hilum test --soak`. Bounded by minutes and counts, seeded, with reports."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from consumers.catalog import CATALOG
from consumers.spec import ConsumerSpec
from infra.settings import Settings
from tests.consumers import story
from tests.consumers.final_states import FINAL_STATES
from tests.consumers.world import member_of, settings_file, world_of
from tests.faults.http_proxy import Fault, Spoil
from tests.faults.laboratory import Laboratory, Load, Record, at_once, held
from tests.faults.nemesis import KINDS, draw_plan
from tests.faults.pipeline import ROOT

PACE_S = 0.2
KILLS = 200
KILLS_BETWEEN_COMMITS = 10
CHILD_S = 240.0
# Beyond S3's stall time-out of 30 s.
STALL_S = 45.0
HANG_S = 60.0
BAD_LINE_DELAY_S = 0.2
ONE_IN_LOST = 20
DELIVERIES_PER_KILL = 3


def load_for(seconds: float) -> Load:
    """About as long as the faults last."""
    return Load(clients=2, instances=max(10, int(seconds / PACE_S)), pace_s=PACE_S)


@pytest.mark.soak
def test_storm(lab: Laboratory, seed: int, minutes: int, record_property: Record) -> None:
    seconds = 60.0 * minutes
    plan = draw_plan(seed, sorted(set(KINDS) - {"empty kafka"}), seconds)
    for step in plan:
        print(f"  {step.at_s:7.1f} s  {step.fault} of {step.target}, {step.lasts_s:.1f} s")
    outcome = held(lab.run("storm", seed, plan, load_for(seconds)), record_property)
    record_property("figure", f"{len(plan)} faults: {outcome.figure}")
    assert set(lab.pipeline.exit_codes()) == set(), "nobody stopped for good"


@pytest.mark.soak
def test_kafka_is_down_for_long(
    lab: Laboratory, seed: int, minutes: int, record_property: Record
) -> None:
    seconds = 60.0 * minutes
    plan = at_once("kill kafka", "kafka", seconds)
    outcome = held(lab.run("kafka-down", seed, plan, load_for(seconds)), record_property)
    assert outcome.not_answered == 0


@pytest.mark.soak
def test_a_broker_hangs_for_a_minute(lab: Laboratory, seed: int, record_property: Record) -> None:
    plan = at_once("stop", "kafka", HANG_S)
    outcome = held(lab.run("broker-hangs", seed, plan, load_for(HANG_S)), record_property)
    assert outcome.not_answered == 0


@pytest.mark.soak
def test_a_store_fails_every_tenth_request(
    lab: Laboratory, seed: int, minutes: int, record_property: Record
) -> None:
    seconds = 60.0 * minutes
    plan = at_once("errors", "primary store", seconds) + at_once("errors", "dr store", seconds)
    proxies = [lab.pipeline.proxies[name] for name in ("primary store", "dr store")]
    outcome = held(lab.run("store-errors", seed, plan, load_for(seconds)), record_property)
    errors = sum(proxy.spoilt[Spoil.ANSWER.value] for proxy in proxies)
    record_property("figure", f"{errors} errors answered: {outcome.figure}")


@pytest.mark.soak
def test_a_store_stalls_beyond_the_time_out(
    lab: Laboratory, seed: int, record_property: Record
) -> None:
    plan = at_once("stall", "primary store", STALL_S)
    held(lab.run("store-stalls", seed, plan, load_for(STALL_S)), record_property)


@pytest.mark.soak
def test_the_line_to_the_second_site_is_cut_and_then_bad(
    lab: Laboratory, seed: int, minutes: int, record_property: Record
) -> None:
    """Cut, then 200 ms a block with one of twenty requests lost."""
    seconds = 60.0 * minutes
    lines = [lab.pipeline.proxies[name] for name in ("dr store", "dr index")]

    def cut_then_bad() -> None:
        lab.history.fault("cut", "line to the second site", is_begin=True)
        for line in lines:
            line.shut()
        time.sleep(seconds)
        for line in lines:
            line.heal()
            line.delay_s = BAD_LINE_DELAY_S
            line.spoil(Fault(Spoil.DIE_AFTER_BODY), seed, ONE_IN_LOST)
        lab.history.fault("cut", "line to the second site", is_begin=False)

    try:
        outcome = lab.run("line-cut", seed, (), load_for(seconds), cut_then_bad)
    finally:
        for line in lines:
            line.heal()
    held(outcome, record_property)


@pytest.mark.soak
@pytest.mark.parametrize("spec", CATALOG, ids=lambda spec: spec.name)
def test_kills_between_write_and_commit(
    engines: Settings,
    tmp_path: Path,
    spec: ConsumerSpec,
    seed: int,
    minutes: int,
    record_property: Record,
) -> None:
    """200 lives that end after their first write, a few deliveries more in each."""
    record_property("seed", seed)
    until = time.monotonic() + 60.0 * 4 * minutes
    with world_of(engines, tmp_path) as world:
        told: list[story.Delivery] = []
        settings = settings_file(world.settings, tmp_path / "settings.json")
        command = [sys.executable, "-m", "tests.consumers.killed", spec.name, str(settings)]
        kills = 0
        while kills < KILLS and time.monotonic() < until:
            later = story.deliveries(DELIVERIES_PER_KILL)
            for events in world.tell(later, list(spec.inputs)).values():
                world.publish(events)
            told += later
            child = subprocess.run(command, cwd=ROOT, timeout=CHILD_S, check=False)
            assert child.returncode == -signal.SIGKILL
            kills += 1
            if kills % KILLS_BETWEEN_COMMITS == 0:
                with member_of(world, spec):
                    world.wait_committed(spec)
                print(f"  {spec.name}: {kills} of {KILLS} kills, {len(told)} deliveries")
        with member_of(world, spec):
            world.wait_committed(spec)
            FINAL_STATES[spec.name](world, told)
        letters = [world.bus.dead_letters(topic) for topic in spec.inputs]
    assert letters == [[]] * len(spec.inputs)
    record_property("figure", f"{kills} kills, {len(told)} deliveries, 0 double, 0 missing")
