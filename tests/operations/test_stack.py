"""Whole local stacks with some of their real processes, side by side."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from contracts.failures import FatalError
from operations.stack import StackOptions, down, process_list, up
from operations.stack_files import stack_files
from operations.stack_leftovers import marked_processes
from tests.polling import eventually

SOME = frozenset({"clickhouse-primary", "gateway-north"})
PORTS = (8123, 9212, 11112)


def is_ready(options: StackOptions) -> bool:
    """Whether every process says so; a busy one may not answer at the first time."""
    return all(process.ready for process in process_list(options))


def are_killed(options: StackOptions) -> bool:
    """Kills what there is; whether there was nothing, also not what a supervisor had started."""
    processes = marked_processes(stack_files(options.state_directory).marker)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return processes == []


def quiet(_line: str) -> None:
    """Progress nobody reads."""


@pytest.fixture
def options(tmp_path: Path) -> Iterator[StackOptions]:
    chosen = StackOptions(tmp_path / "one", free_offset(), only=SOME)
    yield chosen
    down(StackOptions(chosen.state_directory))


def test_two_stacks_side_by_side_and_each_stops_its_own(
    options: StackOptions, tmp_path: Path
) -> None:
    assert up(options, quiet).ok
    other = StackOptions(tmp_path / "two", free_offset(), only=SOME)
    try:
        report = up(other, quiet)
        assert report.ok, report.problems
        before = {process.name: process.pid for process in process_list(other)}
        assert set(down(StackOptions(options.state_directory)).stopped) == SOME
        assert marked_processes(stack_files(options.state_directory).marker) == []
        assert {process.name: process.pid for process in process_list(other)} == before
        eventually(lambda: is_ready(other), "the other stack is ready")
    finally:
        down(StackOptions(other.state_directory))


def test_a_second_up_says_so_and_heals_what_was_stopped(options: StackOptions) -> None:
    first = up(options, quiet)
    assert set(first.started) == SOME
    eventually(lambda: is_ready(options), "the stack is ready")
    said: list[str] = []
    again = up(options, said.append)
    assert again.was_running
    assert again.started == ()
    assert said == ["the stack is already up and ready"]
    down(StackOptions(options.state_directory, only=frozenset({"gateway-north"})))
    stopped = {process.name: process for process in process_list(options)}["gateway-north"]
    assert (stopped.state, stopped.ready, stopped.pid) == ("stopped", False, None)
    assert up(options, quiet).started == ("gateway-north",)


def test_up_after_a_kill_of_everything(options: StackOptions) -> None:
    assert up(options, quiet).ok
    eventually(lambda: are_killed(options), "all are gone")
    assert {process.state for process in process_list(options)} == {"stopped"}
    report = up(options, quiet)
    assert report.ok, report.problems
    assert set(report.started) == SOME


def test_another_offset_on_a_running_stack_is_refused(options: StackOptions) -> None:
    up(options, quiet)
    with pytest.raises(FatalError, match=f"--port-offset {options.port_offset}"):
        up(StackOptions(options.state_directory, options.port_offset + 1000, only=SOME), quiet)


def test_a_taken_port_is_named_before_anything_starts(options: StackOptions) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 8123 + options.port_offset))
        taken.listen()
        with pytest.raises(FatalError, match="of clickhouse-primary is taken"):
            up(options, quiet)
    assert process_list(options) == []


def test_down_without_a_stack_changes_nothing(tmp_path: Path) -> None:
    report = down(StackOptions(tmp_path / "never"))
    assert (report.stopped, report.leftovers) == ((), ())
    assert not (tmp_path / "never").exists()


def free_offset() -> int:
    for offset in range(5_000, 21_000, 1000):
        try:
            for port in PORTS:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return offset
    raise RuntimeError("no free offset")
