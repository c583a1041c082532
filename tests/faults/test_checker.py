"""The checker finds what is planted, each under its invariant's name, and uses none of our code."""

from __future__ import annotations

import ast
import io
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from consumers import dr_replica, metadata_index
from contracts.topics import PACK_ARCHIVED, PACK_REPLICATED, RECEIVED
from infra.settings import Settings
from tests.consumers import story
from tests.consumers.world import World, member_of, world_of
from tests.faults import checker
from tests.faults.archive_reading import Site, client_of, run
from tests.faults.checker import INVARIANTS, broken, check
from tests.faults.history import OK, SENT, History, read_history
from tests.faults.pipeline import site_of

WITNESSES = ("checker", "archive_reading", "history")
PRODUCT = {"contracts", "infra", "edge_gateway", "consumers", "operations", "load"}
DELIVERIES = 26
SEED = 20260103


@dataclass
class Scene:
    """A whole archive at both sites, its index, and the history of what was sent."""

    world: World
    history: Path
    primary: Site
    dr: Site

    def broken(self) -> dict[str, str]:
        """The first violation of each invariant that does not hold."""
        found = broken(check(self.history, self.primary, self.dr))
        return {name: violations[0] for name, violations in found.items()}

    def key(self) -> str:
        """The object with the most members, so that a flipped bit can lie in one."""
        client = client_of(self.primary)
        listed = client.list_objects(self.primary.bucket, prefix="packs/", recursive=True)
        return str(max(listed, key=lambda each: each.size or 0).object_name)

    def read(self, key: str) -> bytes:
        """The object's bytes."""
        return bytes(client_of(self.primary).get_object(self.primary.bucket, key).read())

    def put(self, site: Site, key: str, data: bytes) -> None:
        """The object has these bytes."""
        client_of(site).put_object(site.bucket, key, io.BytesIO(data), len(data))


@pytest.fixture(scope="module")
def scene(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("scene")
    with world_of(engines, directory) as world:
        told = story.deliveries(DELIVERIES)
        inputs = [RECEIVED, PACK_ARCHIVED, PACK_REPLICATED]
        for events in world.tell(told, inputs).values():
            world.publish(events)
        for spec in (metadata_index.SPEC, dr_replica.SPEC):
            with member_of(world, spec):
                world.wait_committed(spec)
        history = History(directory / "history.jsonl")
        history.gauge("lag", 0)
        history.fault("cut", "store", is_begin=True)
        history.fault("cut", "store", is_begin=False)
        for delivery in told:
            content = delivery.event.content
            instance = {
                "sop_instance_uid": content.sop_instance_uid,
                "study": content.study_instance_uid,
                "sha256": content.content_sha256,
            }
            history.store(SENT, "CT1", instance)
            history.store(OK, "CT1", instance, 0)
        history.gauge("lag", 0)
        history.close()
        sites = [site_of(world.settings, name) for name in ("primary", "dr")]
        yield Scene(world, history.path, *sites)


@pytest.fixture(autouse=True)
def whole(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test planted is gone again: the next one begins with a scene that holds."""
    yield
    if "scene" in request.fixturenames:
        assert request.getfixturevalue("scene").broken() == {}


def test_a_whole_archive_breaks_nothing(scene: Scene) -> None:
    verdicts = check(scene.history, scene.primary, scene.dr)
    assert [verdict.invariant for verdict in verdicts] == list(INVARIANTS)
    assert all(verdict.holds and verdict.checked > 0 for verdict in verdicts)


def test_a_lost_image_is_found(scene: Scene) -> None:
    key = scene.key()
    kept = scene.read(key)
    client_of(scene.primary).remove_object(scene.primary.bucket, key)
    found = scene.broken()
    scene.put(scene.primary, key, kept)
    assert found["I1"].startswith("lost: ") and key in found["I4"]
    assert found["I5"].startswith("row without its object: ")


def test_a_flipped_bit_is_found_wherever_it_lies(scene: Scene) -> None:
    print(f"seed {SEED}")
    key = scene.key()
    kept = scene.read(key)
    chance = random.Random(SEED)
    for _ in range(8):
        at = chance.randrange(len(kept))
        flipped = kept[:at] + bytes([kept[at] ^ 1 << chance.randrange(8)]) + kept[at + 1 :]
        scene.put(scene.primary, key, flipped)
        found = scene.broken()
        assert key in found["I4"] and "I1" in found, f"bit in byte {at}"
    scene.put(scene.primary, key, kept)


def test_an_image_that_the_second_site_lacks_is_found(scene: Scene) -> None:
    key = scene.key()
    kept = scene.read(key)
    client_of(scene.dr).remove_object(scene.dr.bucket, key)
    found = scene.broken()
    scene.put(scene.dr, key, kept)
    assert found.keys() == {"I4"} and "nothing there" in found["I4"]


@pytest.mark.parametrize(
    ("change", "invariants"),
    [
        ("'2.25.404' AS sop_instance_uid", {"I5"}),
        ("'2.25.404' AS study_instance_uid", {"I2"}),
    ],
    ids=["orphan row", "double row"],
)
def test_a_planted_row_is_found(scene: Scene, change: str, invariants: set[str]) -> None:
    table = f"{scene.primary.database}.instance_rows"
    run(scene.primary, f"INSERT INTO {table} SELECT * REPLACE ({change}) FROM {table} LIMIT 1")
    found = scene.broken()
    planted = "has([sop_instance_uid, study_instance_uid], '2.25.404')"
    run(scene.primary, f"DELETE FROM {table} WHERE {planted}")
    assert found.keys() == invariants


def test_an_image_nobody_sent_is_found(scene: Scene) -> None:
    (strange,) = story.deliveries(1)
    store = scene.world.engines.primary.object_store
    (pack,) = story.store_packs([strange], store, "primary", scene.world.directory)
    found = scene.broken()
    client_of(scene.primary).remove_object(scene.primary.bucket, pack.object_key)
    assert found["I5"].startswith("never sent: ")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"kind": "gauge", "name": "lag", "value": 3}, "lag: 0 at the start, 3 at the end"),
        ({"kind": "fault", "name": "kill", "target": "x", "is_begin": True}, "never ended: kill"),
    ],
)
def test_what_does_not_come_to_rest_is_found(
    scene: Scene, tmp_path: Path, entry: dict[str, object], said: str
) -> None:
    history = tmp_path / "history.jsonl"
    line = json.dumps({"at_s": 1e6, **entry})
    history.write_text(scene.history.read_text() + line + "\n")
    found = broken(check(history, scene.primary, scene.dr))
    assert found.keys() == {"I10"} and any(said in text for text in found["I10"])


def test_a_command_judges_a_history_on_its_own(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = tmp_path / "sites.json"
    sites.write_text(json.dumps({"primary": asdict(scene.primary), "dr": asdict(scene.dr)}))
    monkeypatch.setattr(sys, "argv", ["checker", str(scene.history), str(sites)])
    assert checker.main() == 0
    lost = {"kind": "store", "outcome": OK, "sop_instance_uid": "2.25.1", "sha256": "0" * 64}
    with scene.history.open("a") as file:
        file.write(json.dumps({"at_s": 2e6, **lost}) + "\n")
    assert checker.main() == 1
    lines = scene.history.read_text().splitlines(keepends=True)
    scene.history.write_text("".join(lines[:-1]))


def test_the_witnesses_use_no_code_of_ours() -> None:
    directory = Path(__file__).parent
    for name in WITNESSES:
        tree = ast.parse((directory / f"{name}.py").read_text())
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not {full.split(".")[0] for full in names} & PRODUCT
        ours = {full.rpartition(".")[2] for full in names if full.startswith("tests")}
        assert ours <= set(WITNESSES)


def test_a_torn_history_is_read_up_to_its_tear(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.note("first")
    history.close()
    with history.path.open("a") as file:
        file.write('{"at_s": 1, "kin')
    assert [e["text"] for e in read_history(history.path)] == ["first"]
