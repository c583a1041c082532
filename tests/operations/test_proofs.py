"""Custody proofs on real stores: they hold, can be checked elsewhere, and all meddling is found."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from consumers import custody_proof, metadata_index
from consumers.proof_chain import ProofChain
from consumers.proof_objects import ProofObjects
from contracts.failures import FatalError, RetryableError
from contracts.proof_leaves import Leaf, leaves_of
from contracts.proof_records import (
    PREFIX,
    decode_root,
    decode_segment,
    encode_segment,
    root_key,
    segment_key,
    sign_root,
)
from infra.proof_key import new_key, signing_key, verifying_key
from infra.settings import Settings
from infra.settings_proofs import ProofSettings
from operations.proof_keys import make_key
from operations.proof_lookup import prove
from operations.proofs import ProofOptions, ProofVerdict, verify_proofs
from tests.consumers import story
from tests.consumers.bus import eventually
from tests.consumers.damage import overwrite_object, remove_object
from tests.consumers.story import Delivery
from tests.consumers.world import World, member_of, world_of

INTERVAL_S = 0.2
RECIPE_PAGE = Path(__file__).resolve().parents[2] / "docs" / "custody-proof.md"


@dataclass
class Proven:
    """A world whose story is on the chains and signed, and how its objects were."""

    world: World
    told: list[Delivery]
    objects: dict[str, bytes]

    def verify(self, wait_s: float = 90.0) -> ProofVerdict:
        """`hilum verify --proofs`."""
        key = signing_key(self.world.settings.proofs.key_file).public
        return verify_proofs(self.world.engines, ProofOptions((key,), wait_s))


@pytest.fixture(scope="module")
def proven(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proven]:
    directory = tmp_path_factory.mktemp("proofs")
    proofs = ProofSettings(root_interval_s=INTERVAL_S)
    with world_of(engines.model_copy(update={"proofs": proofs}), directory) as world:
        told = story.deliveries(30)
        events = world.tell(told, list(custody_proof.SPEC.inputs))
        with member_of(world, custody_proof.SPEC), member_of(world, metadata_index.SPEC):
            for topic in custody_proof.SPEC.inputs:
                world.publish(events[topic])
                world.publish(events[topic])  # told twice, written once
            for spec in (custody_proof.SPEC, metadata_index.SPEC):
                world.wait_committed(spec)
            eventually(lambda: _is_all_signed(world), "all leaves are signed")
        store = world.engines.primary.object_store
        objects = {o.key: b"".join(store.open(o.key)) for o in store.list(PREFIX)}
        yield Proven(world, told, objects)


@pytest.fixture(autouse=True)
def whole(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test did to the objects is undone after it."""
    yield
    if "proven" in request.fixturenames:
        proven: Proven = request.getfixturevalue("proven")
        for site in ("primary", "dr"):
            store = getattr(proven.world.engines, site).object_store
            for key, data in proven.objects.items():
                is_there = store.head(key) is not None and store.read(key) == data
                if not is_there:
                    overwrite_object(getattr(proven.world.settings, site).object_store, key, data)


def _is_all_signed(world: World) -> bool:
    key = signing_key(world.settings.proofs.key_file).public
    verdict = verify_proofs(world.engines, ProofOptions((key,), 0))
    counts = [checked for site in verdict.sites for checked in site.stores.values()]
    return verdict.ok and len(counts) == 8 and all(one.leaves == one.signed for one in counts)


def test_every_fact_is_a_leaf_once_and_all_of_it_is_signed(proven: Proven) -> None:
    verdict = proven.verify()
    assert verdict.ok and not verdict.reasons
    assert [site.site for site in verdict.sites] == ["dr", "north", "primary", "south"]
    leaves = {site.site: site.stores["dr"].leaves for site in verdict.sites}
    count = len(proven.told)
    associations = len({d.event.association_id for d in proven.told})
    assert leaves["dr"] == leaves["primary"] == count
    assert leaves["north"] + leaves["south"] == count + associations
    assert sum(site.stores["primary"].answered for site in verdict.sites) == count


def check_offline(document: dict[str, Any], public_pem: Path) -> list[dict[str, Any]]:
    """Runs the recipe of docs/custody-proof.md; the leaves it calls proven, none where it fails."""
    (recipe,) = re.findall(r"```python\n(.*?)```", RECIPE_PAGE.read_text(), re.DOTALL)
    proof = public_pem.with_name("proof.json")
    proof.write_bytes(orjson.dumps(document))
    command = [sys.executable, "-I", "-c", recipe, str(proof), str(public_pem)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    if ran.returncode:
        assert "AssertionError" in ran.stderr or "InvalidSignature" in ran.stderr
        return []
    return [json.loads(line.split(" ", 2)[2]) for line in ran.stdout.splitlines()]


def test_where_gives_what_proves_an_image_with_a_hash_and_a_signature_alone(
    proven: Proven, tmp_path: Path
) -> None:
    key_file = proven.world.settings.proofs.key_file
    assert key_file is not None
    delivery = next(d for d in proven.told if d.event.quarantine_reason is None)
    sop_instance_uid = delivery.event.content.sop_instance_uid
    found = prove(proven.world.engines, sop_instance_uid, signing_key(key_file).public)
    assert found.ok and not found.missing
    document = json.loads(orjson.dumps(asdict(found)))
    leaves = check_offline(document, key_file.with_name(f"{key_file.name}.pub"))
    assert [leaf["kind"] for leaf in leaves] == ["answered", "archived", "replicated"]
    sha256 = hashlib.sha256(delivery.data).hexdigest()
    assert {leaf["content_sha256"] for leaf in leaves} == {sha256}
    store = proven.world.engines.primary.object_store
    pack = b"".join(store.open(leaves[2]["object_key"]))
    end = leaves[2]["offset_bytes"] + leaves[2]["length_bytes"]
    assert hashlib.sha256(pack).hexdigest() == leaves[2]["object_sha256"]
    assert pack[:end].endswith(delivery.data)
    assert not check_offline(document, make_key(tmp_path / "other").public_file)
    document["proofs"][0]["leaf"] = document["proofs"][0]["leaf"].replace("CT1", "CT2")
    assert not check_offline(document, key_file.with_name(f"{key_file.name}.pub"))


def _rewritten(data: bytes, leaves: Sequence[bytes]) -> bytes:
    """A segment of other leaves whose links are all computed anew."""
    head = decode_segment(data).head
    return encode_segment(type(head)(**{**asdict(head), "count": len(leaves)}), leaves)


@pytest.mark.parametrize("site", ["primary", "dr"])
@pytest.mark.parametrize("how", ["edit", "drop", "swap", "remove"])
def test_a_touched_leaf_is_named_by_its_position(proven: Proven, site: str, how: str) -> None:
    store = getattr(proven.world.settings, site).object_store
    key = segment_key("primary", 0)
    leaves = list(decode_segment(proven.objects[key]).leaves)
    bad = 0 if how == "remove" else 3
    if how == "edit":
        leaves[3] = leaves[3].replace(b'"length_bytes":', b'"length_bytes":1')
    elif how == "drop":
        del leaves[3]
    elif how == "swap":
        leaves[3:5] = [leaves[4], leaves[3]]
    if how == "remove":
        remove_object(store, key)
    else:
        overwrite_object(store, key, _rewritten(proven.objects[key], leaves))
    verdict = proven.verify(wait_s=3)
    assert not verdict.ok
    assert {s.site: s.position for s in verdict.sites if not s.ok} == {"primary": bad}
    assert f"{site}, position {bad}" in verdict.reasons[0]


def test_roots_of_another_key_and_roots_that_are_gone_are_found(
    proven: Proven, tmp_path: Path
) -> None:
    key = root_key("north", 0)
    (tmp_path / "k").write_bytes(new_key()[0])
    (tmp_path / "k").chmod(0o600)
    foreign = sign_root(decode_root(proven.objects[key]).body, signing_key(tmp_path / "k"))
    for site in (proven.world.settings.primary, proven.world.settings.dr):
        overwrite_object(site.object_store, key, foreign)
    verdict = proven.verify()
    assert not verdict.ok and "root 0: not signed by a known key" in verdict.reasons[0]
    for site in (proven.world.settings.primary, proven.world.settings.dr):
        overwrite_object(site.object_store, key, proven.objects[key])
    last = max(key for key in proven.objects if key.startswith("proofs/south/roots/"))
    remove_object(proven.world.settings.dr.object_store, last)
    verdict = proven.verify(wait_s=0)
    assert [s.site for s in verdict.sites if not s.ok] == ["south"]


def test_what_both_stores_lost_is_missed_by_the_index(proven: Proven) -> None:
    for key in proven.objects:
        if key.startswith("proofs/north/"):
            for site in (proven.world.settings.primary, proven.world.settings.dr):
                remove_object(site.object_store, key)
    verdict = proven.verify()
    (reason,) = verdict.reasons
    assert reason.startswith("north: the index knows") and reason.endswith("the proofs 0")


def _chain(proven: Proven, site: str) -> ProofChain:
    engines = proven.world.engines
    objects = ProofObjects(engines.primary, engines.dr)
    key = signing_key(proven.world.settings.proofs.key_file)
    return ProofChain(site, objects, key, lambda: datetime.now(UTC))


def _leaves(count: int) -> list[Leaf]:
    """Of associations of their own: one that ended twice in the same way would be one fact."""
    return [
        leaf
        for receipt in story.receipts(story.deliveries(count))
        for leaf in leaves_of(replace(receipt, association_id=str(uuid.uuid4())))
    ]


def test_two_writers_take_turns_and_neither_goes_another_way(proven: Proven) -> None:
    one, other = _chain(proven, "shared"), _chain(proven, "shared")
    first, second = _leaves(6), _leaves(6)
    assert one.append(first) == len(first)
    assert other.append(second) == len(second)
    with pytest.raises(RetryableError, match="another process was there first"):
        one.append(_leaves(1))
    assert one.append([*second, *first]) == 0  # what the other wrote is known now
    assert one.sign_if_due(0, 1) and not one.sign_if_due(0, 1)
    verdict = proven.verify()
    (shared,) = [site for site in verdict.sites if site.site == "shared"]
    assert shared.ok and shared.stores["dr"].leaves == len(first) + len(second)
    assert shared.stores["primary"].signed == shared.stores["primary"].leaves


def test_a_writer_that_died_between_the_stores_is_made_up_for(proven: Proven) -> None:
    chain = _chain(proven, "half")
    chain.append(_leaves(4))
    chain.append(_leaves(4))
    last = max(o.key for o in proven.world.engines.dr.object_store.list("proofs/half/leaves/"))
    remove_object(proven.world.settings.dr.object_store, last)
    more = _leaves(2)
    assert _chain(proven, "half").append(more) == len(more)
    assert next(s for s in proven.verify().sites if s.site == "half").ok


def test_nothing_is_added_to_a_chain_that_does_not_hold(proven: Proven) -> None:
    key = segment_key("south", 0)
    leaves = list(decode_segment(proven.objects[key]).leaves)
    store = proven.world.settings.primary.object_store
    overwrite_object(store, key, _rewritten(proven.objects[key], leaves[1:]))
    with pytest.raises(FatalError, match="continuing the proofs of south"):
        _chain(proven, "south").append(_leaves(1))
    overwrite_object(store, key, proven.objects[key])
    for gone in [k for k in proven.objects if k.startswith("proofs/south/")]:
        remove_object(store, gone)
    with pytest.raises(FatalError, match="dr has proofs/south"):
        _chain(proven, "south").append(_leaves(1))


def test_a_key_is_made_once_and_used_only_while_it_is_private(tmp_path: Path) -> None:
    made = make_key(tmp_path / "deep" / "proof.key")
    assert made.key_file.stat().st_mode & 0o777 == 0o600
    assert verifying_key(made.public_file) == signing_key(made.key_file).public
    with pytest.raises(FatalError, match="exists and is not overwritten"):
        make_key(made.key_file)
    made.key_file.chmod(0o640)
    with pytest.raises(FatalError, match="can be read by others"):
        signing_key(made.key_file)
    with pytest.raises(FatalError, match="hilum proofs key init"):
        signing_key(None)
    with pytest.raises(FatalError, match="no private key"):
        made.public_file.chmod(0o600)
        signing_key(made.public_file)
