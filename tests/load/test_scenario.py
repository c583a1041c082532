"""Scenarios are closed, bounded and reproducible, and their plans have the rates they name."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from contracts.failures import FatalError
from load.arrival import plan
from load.lanes import require_within, templates_of
from load.scenario import changed, parse_scenario, read_scenario, scenario_names
from load.studies import KINDS, default_cache

GATEWAYS = ("north", "south")
BOX = ("clinic", "hospital", "migration-night", "network-peak", "smoke")


def tree(**changes: Any) -> dict[str, Any]:
    modality = {"kind": "ct-small", "studies_per_hour": 60.0, "instances": [5, 10]}
    return {
        "name": "test",
        "title": "A test",
        "mode": "open",
        "hours": 10.0,
        "start_hour": 0.0,
        "compress_time": 3600,
        "instances_max": 100_000,
        "sites": [{"name": "a", "modalities": [modality]}],
        **changes,
    }


def test_the_box_holds_what_is_promised() -> None:
    assert scenario_names() == BOX


@pytest.mark.parametrize("name", BOX)
def test_a_scenario_of_the_box_is_valid_and_ends_within_minutes(name: str) -> None:
    scenario = read_scenario(name)
    planned = plan(scenario, GATEWAYS)
    assert scenario.name == name
    assert 0 < planned.instances <= scenario.instances_max and planned.left_out == 0
    assert scenario.seconds_max <= 120
    assert {lane.gateway for lane in planned.lanes} <= set(GATEWAYS)
    assert all(len(lane.calling_ae_title) <= 16 for lane in planned.lanes)
    # Room for the whole plan on the disk of an ordinary machine: sizes by the pixels alone.
    size = sum(
        KINDS[lane.modality.kind].pixel_bytes(KINDS[lane.modality.kind].size) * lane.instances
        for lane in planned.lanes
    )
    assert size <= scenario.bytes_max / 2


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\ntitle = "Mine"\nmode = "open"\n[[sites]]\nname = "a"\n'
        '[[sites.modalities]]\nkind = "ct"\nstudies_per_hours = 3\n'
    )
    with pytest.raises(FatalError) as caught:
        read_scenario(str(path))
    assert "studies_per_hours: unknown key; did you mean 'studies_per_hour'?" in str(caught.value)
    assert "mine.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "closed"}, "has no studies"),
        ({"sites": []}, "nothing is sent"),
        ({"day": [1.0] * 23}, "24 weights"),
        ({"compress_time": 1}, "more than seconds_max"),
        ({"instances_max": 10**9}, "instances_max"),
        ({"sites": [{"name": "a", "modalities": [{"kind": "tc"}]}]}, "no kind 'tc'"),
    ],
)
def test_what_cannot_be_meant_is_an_error(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(FatalError) as caught:
        parse_scenario(tree(**changes), "test")
    assert said in str(caught.value)


def test_a_name_that_is_not_in_the_box_names_the_nearest() -> None:
    with pytest.raises(FatalError, match="did you mean 'hospital'"):
        read_scenario("hospitl")


def test_arrivals_are_those_of_the_seed() -> None:
    scenario = parse_scenario(tree(), "test")
    assert plan(scenario, GATEWAYS) == plan(scenario, GATEWAYS)
    assert plan(scenario, GATEWAYS) != plan(changed(scenario, seed=2), GATEWAYS)


def test_rates_of_an_open_loop_are_those_of_the_day() -> None:
    day = [1.0] * 5 + [3.0] * 5 + [0.0] * 14
    scenario = parse_scenario(tree(day=day), "test")
    lane = plan(scenario, GATEWAYS).lanes[0]
    due = [study.due_s for study in lane.studies if study.due_s is not None]
    assert due == sorted(due) and due[0] >= 0 and due[-1] < scenario.seconds == 10.0
    early = sum(at < 5.0 for at in due)
    # Poisson: 300 and 900 expected, so these are six standard deviations wide.
    assert 200 < early < 400 and 720 < len(due) - early < 1080


def test_even_arrivals_are_exactly_as_many_as_the_rate_says() -> None:
    scenario = parse_scenario(tree(arrival="even"), "test")
    due = [study.due_s for study in plan(scenario, GATEWAYS).lanes[0].studies]
    assert len(due) == 600
    assert due[:2] == pytest.approx([1 / 120, 3 / 120])


def test_a_study_goes_out_at_the_pace_of_its_device() -> None:
    lane = plan(parse_scenario(tree(arrival="even"), "test"), GATEWAYS).lanes[0]
    times = [at for study, _, at in lane.due_times() if study is lane.studies[0]]
    steps = [later - at for at, later in pairwise(times) if at and later]
    assert steps == pytest.approx([1 / lane.modality.instances_per_s] * (len(times) - 1))


def test_a_plan_never_has_more_instances_than_admitted() -> None:
    scenario = parse_scenario(tree(instances_max=100), "test")
    planned = plan(scenario, GATEWAYS)
    assert planned.instances == 100 and planned.left_out > 3000
    numbers = [study.number for lane in planned.lanes for study in lane.studies]
    assert len(set(numbers)) == len(numbers)


def test_a_closed_loop_gives_way_in_proportion() -> None:
    scenario = read_scenario("migration-night")
    whole = plan(scenario, GATEWAYS)
    cut = plan(changed(scenario, instances_max=100), GATEWAYS)
    assert cut.instances + cut.left_out == whole.instances and 98 <= cut.instances <= 100
    assert [lane.instances for lane in cut.lanes] == [
        100 * lane.instances // whole.instances for lane in whole.lanes
    ]


def test_the_command_line_changes_rates_and_hours() -> None:
    scenario = parse_scenario(tree(arrival="even"), "test")
    assert len(plan(changed(scenario, rate_factor=0.5), GATEWAYS).lanes[0].studies) == 300
    assert len(plan(changed(scenario, hours=2.0), GATEWAYS).lanes[0].studies) == 120


def test_a_plan_of_too_many_bytes_is_refused_before_anything_is_sent() -> None:
    scenario = parse_scenario(tree(bytes_max=1000), "test")
    planned = plan(scenario, GATEWAYS)
    with pytest.raises(FatalError, match="bytes_max"):
        require_within(scenario, planned, templates_of(planned.lanes, default_cache()))
