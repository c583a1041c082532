"""A gateway's disk is lost: what no archive has is named by receipts, and nothing else is."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from consumers.object_archive import SPEC as ARCHIVE
from infra.settings import Settings
from operations.verify import Verdict, VerifyOptions, verify
from tests.consumers.world import World, member_of, world_of
from tests.edge_gateway.centre_side import Centre
from tests.edge_gateway.forwarding import eventually, forwarder_settings
from tests.edge_gateway.gateway_fixtures import StartForwarder, start_forwarder
from tests.edge_gateway.running_gateway import RunningGateway
from tests.edge_gateway.test_forward_bandwidth import ALL_DAY
from tests.edge_gateway.test_levels import Sending, gateway_of, instance, rule
from tests.faults.laboratory import Record
from tests.polling import succeeded

__all__ = ["start_forwarder"]
pytestmark = pytest.mark.timeout(900)
DISK, SAFE = "FAST", "SAFE"
RULES = (rule(DISK, "disk"), rule(SAFE, "archive"))
# Receipts go out, payload does not: a line that is kept for something else all day.
PAUSE = {"schedule": ALL_DAY, "time_zone": "UTC"}
ARCHIVED, ON_THE_BUS, LOST, NEVER_ANSWERED = (1, 2), (3,), (4, 5), 6


@dataclass
class Site:
    """One gateway over a disk that a test loses, and its senders."""

    world: World
    directory: Path
    gateway: RunningGateway
    centre: Centre

    def send(self, calling: str, number: int) -> Sending:
        """One C-STORE under way."""
        return Sending(self.gateway, instance(self.directory, number), calling).start()

    def must_send(self, calling: str, *numbers: int) -> None:
        """Answered 0x0000, each of them."""
        for number in numbers:
            assert self.send(calling, number).status() == 0

    def await_published(self, count: int) -> None:
        """Returns once so many deliveries of this gateway are on the bus."""
        eventually(lambda: len(self.of_this_gateway()) == count, f"{count} published")

    def of_this_gateway(self) -> set[str]:
        """The deliveries that the bus has of it."""
        ours = {delivery.delivery_id for delivery, _ in self.gateway.deliveries()}
        return ours & self.centre.received_ids()

    def await_receipts(self, count: int) -> None:
        """Returns once so many answers are told of on the bus."""

        def told() -> int:
            pages = self.centre.receipts()
            return len({entry.delivery_id for page in pages for entry in page.entries})

        eventually(lambda: told() == count, f"receipts of {count}")

    def contents(self) -> list[tuple[str, str]]:
        """What the disk holds, in the order of acceptance."""
        return [
            (delivery.sop_instance_uid, hashlib.sha256(body).hexdigest())
            for delivery, body in self.gateway.deliveries()
        ]


def lose_the_disk(world: World, directory: Path, start: StartForwarder) -> list[tuple[str, str]]:
    """What was on it: two in the archive, one on the bus, two nowhere else, one not answered."""
    settings = forwarder_settings(world.settings, admit=RULES)
    paused = forwarder_settings(world.settings, admit=RULES, forwarding=PAUSE)
    with gateway_of(settings) as gateway:
        centre = Centre(settings, gateway.spool.identity.gateway_id)
        site = Site(world, directory, gateway, centre)
        process = start(settings)
        with member_of(world, ARCHIVE):
            site.must_send(SAFE, ARCHIVED[0])
            site.must_send(DISK, ARCHIVED[1])
            site.await_published(len(ARCHIVED))
            world.wait_committed(ARCHIVE)
        site.must_send(DISK, *ON_THE_BUS)
        site.await_published(len(ARCHIVED + ON_THE_BUS))
        assert process.stop() == 0
        process = start(paused)
        site.must_send(DISK, *LOST)
        site.await_receipts(len(ARCHIVED + ON_THE_BUS + LOST))
        waiting = site.send(SAFE, NEVER_ANSWERED)
        eventually(lambda: len(gateway.deliveries()) == NEVER_ANSWERED, "on the disk")
        process.kill()
        contents = site.contents()
        centre.close()
    assert waiting.status() != 0, "at level archive nothing is answered that no archive has"
    shutil.rmtree(settings.gateways["north"].spool.directory)
    return contents


def send_again(world: World, directory: Path, start: StartForwarder) -> None:
    """The gateway anew on an empty disk; the senders send what was named, and what failed."""
    answered_before = len(ARCHIVED + ON_THE_BUS + LOST)
    settings = forwarder_settings(world.settings, admit=RULES)
    with gateway_of(settings) as gateway, member_of(world, ARCHIVE):
        centre = Centre(settings, gateway.spool.identity.gateway_id)
        site = Site(world, directory, gateway, centre)
        start(settings)
        site.must_send(DISK, *LOST)
        site.must_send(SAFE, NEVER_ANSWERED)
        site.await_published(len(LOST) + 1)
        site.await_receipts(answered_before + len(LOST) + 1)
        world.wait_committed(ARCHIVE)
        centre.close()


def verdict_of(world: World) -> Verdict:
    """As of now; a gateway whose disk is gone is not waited for."""
    options = VerifyOptions(wait_s=0.0)
    return succeeded(lambda: verify(world.engines, options), "every witness answers")


def test_exactly_what_no_archive_has_is_named_after_a_disk_was_lost(
    engines: Settings, tmp_path: Path, start_forwarder: StartForwarder, record_property: Record
) -> None:
    with world_of(engines, tmp_path) as world:
        contents = lose_the_disk(world, tmp_path, start_forwarder)
        with member_of(world, ARCHIVE):
            world.wait_committed(ARCHIVE)
        verdict = verdict_of(world)
        assert list(verdict.not_found) == sorted(contents[number - 1] for number in LOST)
        assert verdict.acknowledged_not_found == len(LOST) and not verdict.ok
        assert verdict.acknowledged == len(ARCHIVED + ON_THE_BUS + LOST)
        assert verdict.archived == len(ARCHIVED + ON_THE_BUS)
        named = f"{len(LOST)} of {len(LOST)} lost at level disk named, 0 lost at level archive"
        record_property("figure", named)

        send_again(world, tmp_path, start_forwarder)
        verdict = verdict_of(world)
        assert verdict.acknowledged_not_found == 0
        assert verdict.acknowledged == verdict.archived == len(contents)
