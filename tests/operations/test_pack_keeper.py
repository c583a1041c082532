"""Packs are merged and collected by night: when, how far, and only where the settings say so."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from consumers import dr_replica, metadata_index
from contracts.failures import EXIT_FATAL, EXIT_OK, FatalError
from infra.connect import connect
from infra.engines.program import Probe
from infra.local_stack import local_stack_tree
from infra.settings import Settings, validate
from infra.settings_packs import PackSettings
from infra.telemetry import Metrics
from operations.context import CHECKOUT
from operations.packs.keeper import PackKeeper
from operations.packs.survey import listed_packs
from operations.ports import free_ports
from operations.stack_files import create_directories, make_settings, stack_files, to_toml
from operations.stack_programs import (
    PACK_KEEPER,
    consumer_ports,
    service_programs,
    stack_ports,
)
from tests.consumers.final_states import packs_in
from tests.consumers.story import Delivery
from tests.consumers.world import World, member_of, world_of
from tests.operations.pack_world import data_of, of_one_study, patiently, stored
from tests.polling import eventually

PART = 2  # deliveries of a small pack
MANY, FEW = "2.25.99.1", "2.25.99.2"
EXIT_S = 120.0
NIGHT = PackSettings(merge=True, collect=True, begins="23:00", ends="05:00")


@pytest.mark.parametrize(
    ("hour", "minute", "night"),
    [
        (22, 59, None),
        (23, 0, date(2026, 3, 1)),
        (23, 59, date(2026, 3, 1)),
        (0, 0, date(2026, 2, 28)),
        (4, 59, date(2026, 2, 28)),
        (5, 0, None),
        (12, 0, None),
    ],
)
def test_a_night_over_midnight_is_one(hour: int, minute: int, night: date | None) -> None:
    assert NIGHT.night(datetime(2026, 3, 1, hour, minute, tzinfo=UTC)) == night


def test_the_hours_are_those_of_the_zone() -> None:
    there = NIGHT.model_copy(update={"time_zone": "Asia/Tokyo"})
    assert there.night(datetime(2026, 3, 1, 14, 0, tzinfo=UTC)) == date(2026, 3, 1)
    assert there.night(datetime(2026, 3, 1, 23, 0, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"begins": "24:00"}, "no time of the day"),
        ({"begins": "01:00", "ends": "01:00"}, "a window needs a length"),
        ({"time_zone": "Mars/Olympus"}, "not known here"),
        ({"idle_hours": 0}, "idle_hours"),
        ({"packs_min": 1}, "packs_min"),
        ({"merges": True}, "merge"),
    ],
)
def test_hours_that_cannot_be_meant_are_named(
    wrong: dict[str, object], told: str, tmp_path: Path
) -> None:
    with pytest.raises(FatalError, match=told):
        validate({**local_stack_tree(tmp_path, 0), "packs": wrong}, "a test")


@pytest.mark.parametrize("packs", ["", "merge = true", "collect = true"])
def test_the_stack_has_a_keeper_only_where_it_is_asked_for(tmp_path: Path, packs: str) -> None:
    files = stack_files(tmp_path / "state")
    create_directories(files)
    overlay = tmp_path / "own.toml"
    overlay.write_text(f"[packs]\n{packs}\n")
    settings = make_settings(files, 1000, overlay, consumer_ports())
    names = [program.name for program in service_programs(settings, files)]
    assert names.count(PACK_KEEPER) == len(packs[:1])
    assert stack_ports(settings).get(PACK_KEEPER, ()) == ((10_230,) if packs else ())


def between(first_h: float, last_h: float, **own: object) -> PackSettings:
    """Settings with a night that begins and ends so many hours from now."""
    now = datetime.now(UTC)
    begins, ends = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (first_h, last_h))
    return PackSettings.model_validate({"begins": begins, "ends": ends, **own})


def a_night(world: World, packs: PackSettings, is_stopped: bool = False) -> None:
    """One whole night of a keeper that has just started."""
    stop = threading.Event()
    engines = connect(world.settings.model_copy(update={"packs": packs}), "keeper", Metrics())
    keeper = PackKeeper(engines, stop)
    if is_stopped:
        stop.set()

    def is_over() -> bool:
        keeper.look()
        return keeper.readiness.is_ready

    try:
        eventually(is_over, "a night without a retry")
    finally:
        engines.close()


def in_small_packs(world: World, uid: str, packs: int) -> list[Delivery]:
    """A study that came in so many packs, of which everybody is told."""
    told = of_one_study(packs * PART, uid)
    for start in range(0, len(told), PART):
        part = told[start : start + PART]
        world.publish([*(one.event for one in part), *stored(world, part)])
    return told


def packs_of(world: World, uid: str) -> set[str]:
    return {row.object_key for row in patiently(lambda: listed_packs(world.engines, [uid]))}


def test_small_packs_become_one_in_one_night_and_go_in_another(
    engines: Settings, tmp_path: Path
) -> None:
    with world_of(engines, tmp_path) as world:
        told, few = in_small_packs(world, MANY, 4), in_small_packs(world, FEW, 2)
        small, left_alone = packs_of(world, MANY), packs_of(world, FEW)
        assert (len(small), len(left_alone)) == (4, 2)
        a_night(world, between(3, 5, merge=True, collect=True))
        assert packs_of(world, MANY) == small, "it is not night"
        a_night(world, between(-2, 2, merge=True, collect=True), is_stopped=True)
        assert packs_of(world, MANY) == small, "what was asked to stop begins nothing"
        with member_of(world, dr_replica.SPEC), member_of(world, metadata_index.SPEC):
            a_night(world, between(-2, 2, merge=True))
            (merged,) = packs_of(world, MANY) - small
            world.wait_committed(dr_replica.SPEC)
            world.wait_committed(metadata_index.SPEC)
            a_night(world, between(-2, 2, merge=True))
            assert packs_of(world, MANY) == {*small, merged}, "merging removes nothing"
            a_night(world, between(-2, 2, merge=True, collect=True))
        assert packs_of(world, MANY) == {merged}
        assert packs_of(world, FEW) == left_alone
        for site in (world.engines.primary, world.engines.dr):
            held = {
                d: data for pack in packs_in(site.object_store).values() for d, data in pack.items()
            }
            assert held == data_of([*told, *few])


@pytest.mark.parametrize(
    ("merge", "exit_code"), [(True, EXIT_OK), (False, EXIT_FATAL)], ids=["asked for", "not"]
)
def test_the_process_needs_no_engine_by_day_and_stops_when_asked(
    tmp_path: Path, merge: bool, exit_code: int
) -> None:
    (port,) = free_ports(1)
    by_day = between(3, 5, merge=merge, http_port=port)
    path = tmp_path / "settings.toml"
    tree = local_stack_tree(tmp_path, 0)
    path.write_text(to_toml({**tree, "packs": by_day.model_dump()}))
    command = (sys.executable, "-m", "operations.packs.keeper", "--settings", str(path))
    with subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.PIPE) as process:
        try:
            if merge:
                eventually(lambda: Probe("http", port, "/readyz").ask().is_ready, "ready")
                process.send_signal(signal.SIGTERM)
            assert process.wait(EXIT_S) == exit_code
        finally:
            process.kill()
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert merge or "packs.merge or packs.collect" in said
