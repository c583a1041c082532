"""The forwarder of a mirror whose spool lives: it says nothing, and releases what is archived."""

from __future__ import annotations

from pathlib import Path

from contracts.events import CustodyState
from edge_gateway.spool import FileSystem
from edge_gateway.spool.layout import SpoolLayout
from infra.settings import Settings
from tests.edge_gateway.centre_side import Centre
from tests.edge_gateway.forwarding import eventually, forwarder_settings
from tests.edge_gateway.gateway_fixtures import (
    StartForwarder,
    centre,
    modality,
    north_settings,
    start_mirror,
)
from tests.edge_gateway.modality import Modality
from tests.edge_gateway.running_gateway import stored

__all__ = ["centre", "modality", "north_settings", "start_mirror"]
STUDY = "1.2.826.0.1.3680043.8.498.620"
# Some 17 of them fill a segment.
SIZE_BYTES = 60_000


def segments(directory: Path) -> list[int]:
    return SpoolLayout(directory).segment_numbers(FileSystem())


def members(directory: Path, delivery_ids: list[str]) -> list[tuple[str, str]]:
    found = [entry for entry, body in stored(directory) if body]
    of_id = {entry.delivery_id: entry.content_sha256 for entry in found}  # type: ignore[union-attr]
    return [(delivery_id, str(of_id[delivery_id])) for delivery_id in delivery_ids]


def test_a_silent_forwarder_publishes_nothing_and_releases_what_custody_calls_archived(
    north_settings: Settings,
    modality: Modality,
    centre: Centre,
    start_mirror: StartForwarder,
    tmp_path: Path,
) -> None:
    second = tmp_path / "second"
    second.mkdir()
    spool = {"mirror_directory": str(second), "mirror_may_share_disk": True, "hold_s": 0}
    settings = forwarder_settings(north_settings, spool=spool)
    first = settings.gateways["north"].spool.directory
    copied = second / "north" / modality.spool.identity.gateway_id
    early = modality.store_study(STUDY, 40, SIZE_BYTES)
    process = start_mirror(settings)
    eventually(lambda: segments(copied) == segments(first)[:3], process.log())
    assert process.stop() == 0
    # Custody of what the mirror does not have yet: it must not pass by unheard.
    late = modality.store_study(STUDY, 40, SIZE_BYTES)
    spoken_of = [*early, *late[:-1]]
    centre.say_custody(CustodyState.ARCHIVED, members(first, spoken_of))
    process.start()
    eventually(lambda: len(segments(copied)) == 1, f"{segments(copied)} {process.log()}")
    kept = [entry for entry, body in stored(copied) if body]
    assert late[-1] in {entry.delivery_id for entry in kept}  # type: ignore[union-attr]
    assert process.readiness()[0], process.readiness()
    assert segments(first)[0] == 1, "the first spool is its own forwarder's"
    assert not centre.received() and not centre.receipts()
