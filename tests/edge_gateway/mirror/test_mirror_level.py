"""Level mirror at the port: 0x0000 once both disks have it, A700 while the second one does not."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from contracts.failures import FatalError
from edge_gateway import status
from edge_gateway.mirror import process as mirror_process
from infra.settings import Settings
from tests.edge_gateway.mirror.mirror_process import mirroring, settings_with_mirror
from tests.edge_gateway.running_gateway import RunningGateway, eventually, stored
from tests.edge_gateway.spool.seams import FailingFileSystem, HangingFileSystem
from tests.edge_gateway.test_levels import Sending, gateway_of, instance, receipts, rule

LATE = status.LEVEL_NOT_REACHED.value
LATE_MS = 300
# Who waits as long as it takes, who does not, and who does not ask for the second disk.
RULES = [rule("SAFE", "mirror"), rule("HASTY", "mirror", LATE_MS), rule("FAST", "disk")]


class Site:
    """One gateway, and what its senders are told."""

    def __init__(self, directory: Path, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self._directory = directory
        self._number = 0

    def send(self, calling: str) -> int | None:
        """The status of one C-STORE."""
        self._number += 1
        return (
            Sending(self.gateway, instance(self._directory, self._number), calling).start().status()
        )

    def mirrored(self) -> list[tuple[object, bytes]]:
        """Deliveries and their bytes in the mirror, in order."""
        gateway_id = self.gateway.spool.identity.gateway_id
        directory = self._directory / "second" / "north" / gateway_id
        return [each for each in stored(directory) if each[1]]


def second_disk(directory: Path) -> None:
    (directory / "second").mkdir()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with_mirror(tmp_path, RULES)


def test_it_is_answered_once_both_disks_have_it(tmp_path: Path, settings: Settings) -> None:
    second_disk(tmp_path)
    with gateway_of(settings) as gateway, mirroring(settings) as mirror:
        site = Site(tmp_path, gateway)
        assert [site.send("SAFE") for _ in range(3)] == [0, 0, 0]
        assert site.mirrored() == gateway.deliveries()
        assert site.send("FAST") == 0
        eventually(lambda: site.mirrored() == gateway.deliveries())
        assert mirror.readiness().is_ready
        eventually(lambda: receipts(gateway) == [0] * 4)


def test_without_the_second_disk_only_who_asked_for_it_is_refused(
    tmp_path: Path, settings: Settings
) -> None:
    with gateway_of(settings) as gateway, mirroring(settings) as mirror:
        site = Site(tmp_path, gateway)
        assert site.send("HASTY") == LATE and site.send("FAST") == 0
        eventually(lambda: "is not there: mount the second disk" in mirror.readiness().reason)
        assert not mirror.readiness().is_ready
        second_disk(tmp_path)
        assert site.send("SAFE") == 0
        # What was late stays, and is mirrored as well.
        assert site.mirrored() == gateway.deliveries()
        eventually(lambda: mirror.readiness().is_ready)


def test_a_second_disk_that_breaks_refuses_until_it_is_sound(
    tmp_path: Path, settings: Settings
) -> None:
    second_disk(tmp_path)
    fs = FailingFileSystem()
    with gateway_of(settings) as gateway, mirroring(settings, fs) as mirror:
        site = Site(tmp_path, gateway)
        assert site.send("SAFE") == 0
        fs.rule = lambda what, path: errno.EIO
        assert site.send("HASTY") == LATE
        assert site.send("FAST") == 0
        eventually(lambda: not mirror.readiness().is_ready)
        fs.rule = lambda what, path: None
        assert site.send("SAFE") == 0
        assert site.mirrored() == gateway.deliveries()


def test_a_second_disk_that_hangs_holds_up_nobody_else(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_disk(tmp_path)
    monkeypatch.setattr(mirror_process, "HANGING_S", 0.2)
    fs = HangingFileSystem()
    with gateway_of(settings) as gateway, mirroring(settings, fs) as mirror:
        site = Site(tmp_path, gateway)
        assert site.send("SAFE") == 0
        with fs.hang():
            assert site.send("HASTY") == LATE
            assert [site.send("FAST") for _ in range(3)] == [0, 0, 0]
            eventually(lambda: "does not answer" in mirror.readiness().reason)
        assert site.send("SAFE") == 0
        assert site.mirrored() == gateway.deliveries()


def test_one_disk_for_both_has_to_be_asked_for(tmp_path: Path) -> None:
    second_disk(tmp_path)
    settings = settings_with_mirror(tmp_path, RULES, mirror_may_share_disk=False)
    with gateway_of(settings) as gateway, mirroring(settings) as mirror:
        site = Site(tmp_path, gateway)
        assert site.send("HASTY") == LATE and site.send("FAST") == 0
        eventually(lambda: "is on the same file system" in mirror.readiness().reason)


def test_a_mirror_inside_the_spool_ends_the_start(tmp_path: Path) -> None:
    inside = str(tmp_path / "first" / "mirror")
    with pytest.raises(FatalError, match="neither may lie in the other"):
        settings_with_mirror(tmp_path, RULES, mirror_directory=inside)
