"""A member with a name: known again after a kill, alone under its name, gone at once when asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contracts.failures import FatalError
from infra.settings import Settings
from operations.stack_files import to_toml
from tests.consumers.bus import Bus, bus_of, eventually
from tests.consumers.group_member import GROUP, Line, MemberProcess
from tests.consumers.recording import (
    INPUT,
    RecordingWriter,
    publish_numbers,
    running,
)
from tests.engines import _to_json

NAMES = ("recording", "recording-2")
PARTITIONS = INPUT.partitions
EVERY_S = 0.1


@pytest.fixture
def bus(engine_settings: Settings) -> Iterator[Bus]:
    with bus_of(engine_settings.kafka) as ready:
        yield ready


@contextmanager
def two_members(
    settings: Settings, directory: Path, *, is_named: bool
) -> Iterator[tuple[MemberProcess, MemberProcess]]:
    """Two processes that share a group; none outlives the block."""
    directory.mkdir()
    path = directory / "settings.toml"
    path.write_text(to_toml(json.loads(_to_json(settings))))
    first, second = (MemberProcess(path, name, directory, is_named=is_named) for name in NAMES)
    try:
        yield first, second
    finally:
        first.kill()
        second.kill()


class SteadyLoad:
    """One record to each partition every EVERY_S; `sent` has the time of each number."""

    def __init__(self, bus: Bus) -> None:
        self.sent: dict[int, float] = {}
        self._bus = bus
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            first = len(self.sent)
            numbers = range(first, first + PARTITIONS)
            publish_numbers(self._bus, numbers)
            self.sent |= dict.fromkeys(numbers, time.time())

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def both_share(bus: Bus, members: tuple[MemberProcess, MemberProcess]) -> bool:
    """Whether each of the two was given something."""
    return all(member.lines() for member in members) and bus.members(GROUP) == 2


def test_a_named_member_that_was_killed_goes_on_with_its_share(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    publish_numbers(bus, range(100))
    with two_members(engine_settings, tmp_path / "named", is_named=True) as members:
        load = SteadyLoad(bus)
        eventually(lambda: both_share(bus, members), "two members at work", 90)
        before = {line.partition for line in members[1].lines()}
        members[1].kill()
        killed_at = time.time()
        members[1].start_again()
        eventually(lambda: members[1].lines()[-1].at > killed_at, "the second works again", 90)
        load.stop()
        eventually(lambda: bus.lag(GROUP, [INPUT]) == 0, "all committed", 90)
        assert bus.members(GROUP) == 2
        assert [member.stop() for member in members] == [0, 0]
        eventually(lambda: bus.members(GROUP) == 0, "both have left")
        written = {line.number for member in members for line in member.lines()}
    assert before and written == {*range(100), *load.sent}


def test_of_two_processes_under_one_name_one_stops_and_says_why(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    first, second = RecordingWriter(), RecordingWriter()
    with running(engine_settings, tmp_path / "1", first, member="recording") as older:
        older.wait_ready()
        with running(engine_settings, tmp_path / "2", second, member="recording") as newer:
            newer.wait_ready()
            publish_numbers(bus, range(200))
            failure = older.wait_failed()
            assert isinstance(failure, FatalError) and "name of its own" in failure.next_step
            eventually(lambda: bus.lag(GROUP, [INPUT]) == 0, "all committed by the newer")
            assert newer.failure is None
    assert set(second.written) == set(range(200))


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_how_long_records_wait_while_one_of_two_members_is_started_again(
    bus: Bus, engine_settings: Settings, tmp_path: Path
) -> None:
    """Named and unnamed in one run; what is asserted is only that nothing is lost."""
    for is_named in (False, True):
        for way in ("stop", "kill"):
            for turn in range(2):
                kind = f"{'named' if is_named else 'unnamed'}-{way}-{turn}"
                with two_members(engine_settings, tmp_path / kind, is_named=is_named) as members:
                    print(f"{kind}: {restart_one(bus, members, way)}")
                    eventually(lambda: bus.lag(GROUP, [INPUT]) == 0, "all committed", 90)
                eventually(lambda: bus.members(GROUP) == 0, "both are gone", 90)


def restart_one(bus: Bus, members: tuple[MemberProcess, MemberProcess], way: str) -> str:
    """Starts the second again; the longest wait of a record, by who had its partition."""
    publish_numbers(bus, range(PARTITIONS * 10))
    load = SteadyLoad(bus)
    eventually(lambda: both_share(bus, members), "two members at work", 90)
    time_before = time.time()
    eventually(lambda: time.time() > time_before + 5, "an ordinary moment")
    its_own = {line.partition for line in members[1].lines()[-200:]}
    began = time.time()
    if way == "stop":
        members[1].stop()
    else:
        members[1].kill()
    members[1].start_again()
    eventually(lambda: members[1].lines()[-1].at > began + 1, "the second works again", 90)
    until = time.time() + 5
    eventually(lambda: time.time() > until, "an ordinary moment afterwards")
    load.stop()
    eventually(lambda: bus.lag(GROUP, [INPUT]) == 0, "all committed", 90)
    lines = [line for member in members for line in member.lines() if line.number in load.sent]
    others = set(range(PARTITIONS)) - its_own
    waits = [longest_wait_s(lines, load, began, places) for places in (its_own, others)]
    return f"longest wait {waits[0]:.2f} s on its own partitions, {waits[1]:.2f} s on the others"


def longest_wait_s(
    lines: list[Line], load: SteadyLoad, began: float, partitions: set[int]
) -> float:
    """The longest wait of a record sent around the restart to one of these partitions."""
    first: dict[int, Line] = {}
    for line in sorted(lines, key=lambda each: each.at):
        first.setdefault(line.number, line)
    waits = [
        line.at - load.sent[number]
        for number, line in first.items()
        if load.sent[number] > began - 2 and line.partition in partitions
    ]
    return max(waits, default=0.0)
