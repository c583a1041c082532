"""A scenario is sent and followed on a real stack; what fails is told by name."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contracts.failures import FatalError
from load.progress import Progress
from load.report.model import Report, Value
from load.run import RunOptions, run_run
from load.scenario import read_scenario
from load.senders import LeanOptions, Planned
from load.stages import Stage, attached_stack, whole_way
from load.stages.whole_way import EVERYWHERE
from load.studies import Identity, default_cache, templates
from operations.ports import free_ports
from operations.stack import StackOptions
from tests.end_to_end.local_stack import ROOT, LocalStack, assert_clean
from tests.load.scripted_peer import Script, scripted_peer

INSTANCES = 38


def told(report: Report, section: str, table: str) -> dict[Value, tuple[Value, ...]]:
    """The rows of a table by their first value."""
    [found] = [
        one
        for part in report.sections
        if part.title == section
        for one in part.tables
        if one.title == table
    ]
    return {row[0]: row[1:] for row in found.rows}


def test_smoke_comes_through_every_stage(stack: LocalStack) -> None:
    options = RunOptions("smoke", attach=True, state=stack.state, port_offset=stack.port_offset)
    with Progress() as progress:
        report = run_run(options, progress)
    assert report.ok and not report.failures
    stages = told(report, "Stages", "How far and how fast")
    assert list(stages) == [stage.value for stage in Stage]
    assert {row[0] for row in stages.values()} == {INSTANCES}
    seconds = [row[1] for row in stages.values()]
    assert all(isinstance(one, float) and one > 0 for one in seconds)
    assert set(told(report, "What it cost", "By process")) == {*stack.processes(), "all"}
    lags = told(report, "What waited", "Most that waited")
    assert "metadata-index ← imaging.instance.received.v1" in lags
    assert "object-archive ← imaging.instance.received.v1" in lags
    figures = {figure.name: figure for figure in report.figures}
    assert figures.keys() >= {"rate-indexed", "time-indexed-p99", "c-store-p99.9"}
    assert (figures["sender.headroom"].value or 0) > 0
    assert told(report, "What was sent", "The sender itself")
    assert_clean(stack.must("verify"))


@pytest.mark.timeout(900)
def test_what_does_not_come_through_in_time_is_listed_by_name(stack: LocalStack) -> None:
    running = attached_stack(StackOptions(stack.state, stack.port_offset))
    stack.must("down", "dr-replica")
    try:
        with pytest.raises(FatalError, match="dr-replica"):
            attached_stack(running.options)
        template = templates("ct-small", cache=default_cache())
        # A busy machine takes longer for the other stages; this one is waited for in vain.
        for deadline_s in (8.0, 30.0, 120.0):
            seed = int(time.time()) % 10**8
            planned = [Planned(template, Identity(seed, 1, 1, n)) for n in range(3)]
            run = whole_way(running, planned, LeanOptions(), deadline_s)
            if not run.timeline.missing(Stage.INDEXED):
                break
    finally:
        stack.must("up", "--detach")
    [failure] = run.failures
    assert failure.what == "not replicated by the deadline" and failure.count == 3
    assert set(failure.examples) == {one.identity.sop_instance_uid for one in planned}
    assert not run.is_complete and run.until == EVERYWHERE
    assert run.timeline.missing(Stage.INDEXED) == []


def test_half_a_stack_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="no stack is ready"):
        attached_stack(StackOptions(tmp_path))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (Script(statuses=(0xA700,)), "A700"),
        (Script(abort_after=1), "aborted"),
        (Script(reject=(1, 1, 7)), "rejected 1/1/7"),
    ],
)
def test_a_target_that_does_not_take_it_is_told_by_name(script: Script, said: str) -> None:
    with scripted_peer(script) as peer, Progress() as progress:
        address = f"SCRIPTED@127.0.0.1:{peer.target.port}"
        report = run_run(
            RunOptions("smoke", target=address, instances_max=5, ceiling_s=0.1), progress
        )
    assert not report.ok
    assert any(said in failure.what for failure in report.failures), report.failures
    assert all(failure.count for failure in report.failures)


def test_a_target_that_refuses_is_told_by_name() -> None:
    with Progress() as progress:
        address = f"NOBODY@127.0.0.1:{free_ports(1)[0]}"
        report = run_run(
            RunOptions("smoke", target=address, instances_max=2, ceiling_s=0.1), progress
        )
    assert not report.ok and "refused" in report.failures[0].what


def test_a_target_elsewhere_must_be_confirmed() -> None:
    with Progress() as progress, pytest.raises(FatalError, match="not this machine"):
        run_run(RunOptions("smoke", target="PACS@192.0.2.7:104"), progress)


def test_a_wrong_scenario_ends_with_its_problem_and_no_report(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text('name = "x"\ntitle = "x"\nmod = "open"\n')
    ended = subprocess.run(
        [sys.executable, "-m", "load", "run", str(path), "--report", str(tmp_path), "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert ended.returncode == 78
    assert "did you mean 'mode'" in json.loads(ended.stdout)["error"]
    assert [one.name for one in tmp_path.iterdir()] == ["wrong.toml"]


def test_smoke_is_as_long_as_the_tests_think() -> None:
    scenario = read_scenario("smoke")
    assert scenario.seconds <= 5 and scenario.instances_max <= 200
