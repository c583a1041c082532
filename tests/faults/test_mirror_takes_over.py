"""A gateway's disk is lost: what its mirror has of it is published from there, once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from consumers.object_archive import SPEC as ARCHIVE
from infra.settings import Settings
from tests.consumers.world import World, member_of, world_of
from tests.edge_gateway.centre_side import Centre
from tests.edge_gateway.forwarding import eventually, forwarder_settings
from tests.edge_gateway.gateway_fixtures import StartForwarder, start_forwarder, start_mirror
from tests.edge_gateway.running_gateway import stored
from tests.edge_gateway.test_levels import gateway_of, rule
from tests.faults.laboratory import Record
from tests.faults.test_disk_lost import Site, verdict_of

__all__ = ["start_forwarder", "start_mirror"]
pytestmark = pytest.mark.timeout(900)
SAFE, FAST = "SAFE", "FAST"
RULES = (rule(SAFE, "mirror"), rule(FAST, "disk"))
ARCHIVED, ON_TWO_DISKS, LATER = (1, 2), (3, 4, 5, 6), 7


def settings_of(world: World, second: Path) -> Settings:
    spool = {"mirror_directory": str(second), "mirror_may_share_disk": True}
    return forwarder_settings(world.settings, admit=RULES, spool=spool)


def lose_the_first_disk(world: World, directory: Path, starts: tuple[StartForwarder, ...]) -> str:
    """The lost gateway_id: two are in the archive, four nowhere but on its two disks."""
    start_copying, start_publishing = starts
    second = directory / "second"
    settings = settings_of(world, second)
    with gateway_of(settings) as gateway:
        gateway_id = gateway.spool.identity.gateway_id
        centre = Centre(settings, gateway_id)
        site = Site(world, directory, gateway, centre)
        mirror, process = start_copying(settings), start_publishing(settings)
        with member_of(world, ARCHIVE):
            site.must_send(SAFE, ARCHIVED[0])
            site.must_send(FAST, ARCHIVED[1])
            site.await_published(len(ARCHIVED))
            world.wait_committed(ARCHIVE)
        # From now on nothing goes out: no bytes, and no receipt either.
        process.kill()
        site.must_send(SAFE, *ON_TWO_DISKS[:3])
        site.must_send(FAST, *ON_TWO_DISKS[3:])
        copied = second / "north" / gateway_id
        eventually(lambda: len(bodies(copied)) == len(ARCHIVED + ON_TWO_DISKS), "mirrored")
        centre.close()
    mirror.kill()
    shutil.rmtree(settings.gateways["north"].spool.directory)
    return gateway_id


def bodies(directory: Path) -> list[bytes]:
    return [body for _, body in stored(directory) if body]


def take_over(
    world: World, directory: Path, starts: tuple[StartForwarder, ...], lost: str
) -> set[str]:
    """The gateway anew on an empty disk: the deliveries of the lost one that were published."""
    start_copying, start_publishing = starts
    mirrors = directory / "second" / "north"
    settings = settings_of(world, directory / "second")
    with gateway_of(settings) as gateway, member_of(world, ARCHIVE):
        gateway_id = gateway.spool.identity.gateway_id
        assert gateway_id != lost
        centre = Centre(settings, gateway_id)
        site = Site(world, directory, gateway, centre)
        process = start_copying(settings)
        start_publishing(settings)
        # Its own mirror begins while the other one is still being published.
        site.must_send(SAFE, LATER)

        def is_drained() -> bool:
            return [path.name for path in mirrors.iterdir()] == [gateway_id]

        eventually(is_drained, f"{process.readiness()} {process.log()}")
        site.await_published(1)
        site.await_receipts(len(ARCHIVED + ON_TWO_DISKS) + 1)
        world.wait_committed(ARCHIVE)
        events = centre.received()
        centre.close()
    return {event.delivery_id for event in events if event.gateway_id == lost}


def test_what_the_mirror_has_is_published_from_it_after_the_first_disk_was_lost(
    engines: Settings,
    tmp_path: Path,
    start_forwarder: StartForwarder,
    start_mirror: StartForwarder,
    record_property: Record,
) -> None:
    (tmp_path / "second").mkdir()
    starts = start_mirror, start_forwarder
    with world_of(engines, tmp_path) as world:
        lost = lose_the_first_disk(world, tmp_path, starts)
        of_the_lost = take_over(world, tmp_path, starts, lost)
        assert len(of_the_lost) == len(ARCHIVED + ON_TWO_DISKS)
        verdict = verdict_of(world)
        assert verdict.acknowledged_not_found == 0 and not verdict.not_found
        answered = len(ARCHIVED + ON_TWO_DISKS) + 1
        assert verdict.acknowledged == verdict.archived == answered
        record_property("figure", f"0 lost of {answered} at levels mirror and disk")
