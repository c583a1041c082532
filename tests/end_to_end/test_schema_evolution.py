"""Version N and N+1 at once, and back: gateways, archive, index and second site in every mix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from consumers.dead_letter import REASON_HEADER
from contracts.events import InstanceReceived, SchemaPublished
from contracts.example_catalog import examples_of
from contracts.schema_catalog import file_stem
from contracts.topics import CUSTODY, RECEIVED, TOPICS
from infra.seams import StoreSite
from infra.settings import Settings
from infra.topic_tail import read_all
from operations.stack_files import to_toml
from tests.consumers.bus import eventually
from tests.consumers.world import World, settings_file, world_of
from tests.edge_gateway.centre_side import Centre
from tests.edge_gateway.forwarding import forwarder_settings
from tests.edge_gateway.modality import Modality, open_modality
from tests.end_to_end.newer_version import CHANGED, NEW_FIELD, ROOT, newer_checkout

CONSUMERS = ("object-archive", "metadata-index", "dr-replica")
STUDY, INSTANCES = "1.2.826.0.1.3680043.8.498.910", 4
STOP_S, PHASE_S = 60.0, 120.0
# Which processes are of the newer version while each study is on its way.
MIXES: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"object-archive"}),
    frozenset({"forward", "dr-replica"}),
    frozenset({"forward", "metadata-index"}),
    frozenset({"forward", *CONSUMERS}),
    frozenset(),
)


@dataclass(frozen=True, slots=True)
class Site:
    """The world of the test, its gateway's spool, and the settings for processes."""

    world: World
    modality: Modality
    centre: Centre
    settings_file: Path
    newer: Path
    directory: Path

    @contextmanager
    def processes(self, newer: frozenset[str]) -> Iterator[None]:
        """All processes for the length of a block, those of `newer` from the newer checkout."""
        running: dict[str, subprocess.Popen[bytes]] = {}
        try:
            for name in ("forward", *CONSUMERS):
                running[name] = self._start(name, self.newer if name in newer else ROOT)
            yield
        finally:
            for process in running.values():
                process.terminate()
            ended = {name: process.wait(STOP_S) for name, process in running.items()}
        assert set(ended.values()) == {0}, f"{ended}\n{self.logs()}"

    def await_everywhere(self, stored: int, doing: str) -> None:
        """Returns once so many instances are in both indexes and the gateway knows it."""
        engines = self.world.engines
        for is_so, what in (
            (lambda: rows(engines.primary) == stored, "indexed"),
            (lambda: rows(engines.dr) == stored, "at the second site"),
            (lambda: self.centre.deliveries_in("archived") == stored, "archived for the gateway"),
        ):
            eventually(is_so, f"{doing}: {what}\n{self.logs()}", PHASE_S)

    def logs(self) -> str:
        """The last lines of every process."""
        return "\n".join(
            f"{path.name}: {path.read_text()[-2_000:]}" for path in self.directory.glob("*.log")
        )

    def _start(self, name: str, root: Path) -> subprocess.Popen[bytes]:
        role = ["consumers", name]
        if name == "forward":
            role = ["edge_gateway", "forward", "--gateway", "north"]
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *role, "--settings", str(self.settings_file)],
                cwd=root,
                env={**os.environ, "PYTHONPATH": str(root)},
                stderr=log,
            )


@pytest.fixture
def site(engines: Settings, tmp_path: Path) -> Iterator[Site]:
    with world_of(engines, tmp_path) as world:
        north = forwarder_settings(world.settings).gateways["north"]
        tree = json.loads(settings_file(world.settings, tmp_path / "settings.json").read_text())
        tree["gateways"]["north"] = json.loads(north.model_dump_json(exclude_none=True))
        path = tmp_path / "settings.toml"
        path.write_text(to_toml(tree))
        modality = open_modality(world.settings.model_copy(update={"gateways": {"north": north}}))
        centre = Centre(world.settings, modality.spool.identity.gateway_id)
        try:
            yield Site(world, modality, centre, path, newer_checkout(tmp_path), tmp_path)
        finally:
            centre.close()
            modality.spool.close()


def rows(store: StoreSite) -> int:
    """Instances that are whole in a site's index."""
    (row,) = store.database.query("SELECT count() AS n FROM instances WHERE object_key != ''")
    return int(str(row["n"]))


@pytest.mark.timeout(600)
def test_old_and_new_producers_and_consumers_at_once_and_back(site: Site) -> None:
    stored = 0
    for number, newer in enumerate(MIXES):
        with site.processes(newer):
            site.modality.store_study(f"{STUDY}.{number}", INSTANCES)
            stored += INSTANCES
            site.await_everywhere(stored, f"study {number}, newer: {sorted(newer)}")
    # What the newer version wrote is there as it wrote it, and nobody refused anything.
    told = site.centre.read(SchemaPublished)
    assert {event.event for event in told} == {file_stem(kind) for kind in CHANGED}
    assert all(NEW_FIELD in event.schema for event in told)
    ids = {event.schema_id for event in told}
    for topic in (RECEIVED, CUSTODY):
        written = {_schema_id(r.value) for r in read_all(site.world.settings.kafka, topic.name)}
        assert len(written) == 2 and len(written & ids) == 1
    letters = [letter for topic in TOPICS for letter in site.world.bus.dead_letters(topic)]
    assert letters == []
    received = site.centre.read(InstanceReceived)
    assert {event.delivery_id for event in received} == set(site.modality.stored)
    # Acknowledged = archived + quarantined + refused.
    assert (
        len(site.modality.stored)
        == rows(site.world.engines.primary)
        == stored
        == len(MIXES) * INSTANCES
    )


def _schema_id(value: bytes | None) -> int:
    assert value is not None
    return int.from_bytes(value[1:5], "big")


def test_a_schema_that_nobody_told_stays_a_dead_letter(site: Site) -> None:
    site.modality.store_study(f"{STUDY}.99", 1)
    unknown = b"\0" + (12345).to_bytes(4, "big") + b"whatever"
    with site.processes(frozenset()):
        example = examples_of(InstanceReceived)[0]
        bus = site.world.bus
        bus.publish([bus.event_record(example, b"study", unknown, "unknown-1")])
        eventually(
            lambda: len(site.world.bus.dead_letters(RECEIVED)) == 2,
            f"dead letters of object-archive and metadata-index\n{site.logs()}",
            PHASE_S,
        )
        eventually(lambda: rows(site.world.engines.primary) == 1, "the good one goes on", PHASE_S)
    for letter in site.world.bus.dead_letters(RECEIVED):
        assert letter.value == unknown
        assert dict(letter.headers)[REASON_HEADER] == b"unknown_schema"
