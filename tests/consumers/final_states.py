"""What must stand where once a consumer has seen a story: one check for each consumer.

A consumer of the catalogue without a check here fails the conformance suite.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import orjson

from contracts.events import (
    CustodyRecorded,
    CustodyState,
    PackArchived,
    PackMember,
    PackReplicated,
    UsageInterval,
)
from contracts.pack_reading import read_pack
from contracts.proof_check import SiteCheck
from contracts.proof_leaves import LeafKind
from contracts.proof_records import decode_segment
from infra.seams import Database, ObjectStore
from operations.proof_store import list_proofs
from tests.consumers.bus import eventually
from tests.consumers.story import Delivery
from tests.consumers.world import World

FinalState = Callable[[World, Sequence[Delivery]], None]


def object_archive(world: World, told: Sequence[Delivery]) -> None:
    """Every delivery is in a pack of the right area, byte for byte, announced and in custody."""
    stored = packs_in(world.engines.primary.object_store)
    announced = world.bus.events(PackArchived)
    assert {pack.object_key for pack in announced} <= set(stored)
    found = {
        (member.delivery_id, pack.area.value): stored[pack.object_key][member.delivery_id]
        for pack in announced
        for member in pack.members
    }
    assert found == {(d.event.delivery_id, _area(d)): d.data for d in told}
    _assert_custody(world, told, lambda d: _custody_state(d))
    assert not list((world.directory / "scratch" / "object-archive").iterdir())


def dr_replica(world: World, told: Sequence[Delivery]) -> None:
    """Both buckets hold the same bytes, the second index knows them, all of it is announced."""
    here = packs_in(world.engines.primary.object_store)
    there = packs_in(world.engines.dr.object_store)
    assert there == here and here
    replicated = world.bus.events(PackReplicated)
    assert {pack.object_key for pack in replicated} == set(there)
    assert _ids(member for pack in replicated for member in pack.members) == _told_ids(told)
    assert instances(world.engines.dr.database) == _contents(told)
    _assert_custody(world, told, lambda _: CustodyState.REPLICATED)


def metadata_index(world: World, told: Sequence[Delivery]) -> None:
    """One whole row for each content, one delivery row for each delivery with its last state."""
    database = world.engines.primary.database
    assert instances(database) == _contents(told)
    rows = database.query("SELECT delivery_id, status FROM deliveries")
    assert {row["delivery_id"]: row["status"] for row in rows} == {
        d.event.delivery_id: "quarantined" if d.event.quarantine_reason else "replicated"
        for d in told
    }


def usage_analytics(world: World, told: Sequence[Delivery]) -> None:
    """The newest intervals count every delivery once, and its bytes."""
    newest: dict[tuple[object, ...], UsageInterval] = {}

    def totals() -> tuple[int, int, int]:
        for interval in world.bus.events(UsageInterval):
            place = (interval.site, interval.calling_ae_title, interval.modality, interval.minute)
            if place not in newest or newest[place].computed_at < interval.computed_at:
                newest[place] = interval
        return (
            sum(interval.deliveries for interval in newest.values()),
            sum(interval.size_bytes for interval in newest.values()),
            sum(interval.archived_deliveries for interval in newest.values()),
        )

    wanted = (len(told), sum(len(d.data) for d in told), len(told))
    eventually(lambda: totals() == wanted, f"intervals that sum up to {wanted}")


def custody_proof(world: World, told: Sequence[Delivery]) -> None:
    """Every fact of a delivery is a leaf at both stores, once, and the chains hold."""
    for site in (world.engines.primary, world.engines.dr):
        leaves: Counter[tuple[str, str, str]] = Counter()
        for proofs in list_proofs(site.object_store).values():
            check = SiteCheck(proofs.site, (), ())
            for first, data in proofs.segments(proofs.firsts):
                check.add(first, data or b"")
                facts = [orjson.loads(leaf) for leaf in decode_segment(data or b"").leaves]
                leaves.update(
                    (fact["kind"], fact["delivery_id"], fact["content_sha256"])
                    for fact in facts
                    if fact["kind"] != LeafKind.ENDED
                )
            assert check.end().fault is None
        assert leaves == Counter(
            (kind.value, d.event.delivery_id, d.event.content.content_sha256)
            for d in told
            for kind in (LeafKind.ANSWERED, LeafKind.ARCHIVED, LeafKind.REPLICATED)
        )


FINAL_STATES: dict[str, FinalState] = {
    "object-archive": object_archive,
    "dr-replica": dr_replica,
    "metadata-index": metadata_index,
    "usage-analytics": usage_analytics,
    "custody-proof": custody_proof,
}


def packs_in(store: ObjectStore) -> dict[str, dict[str, bytes]]:
    """Every pack by key: the data set of each member by delivery_id. Hashes are checked."""
    found = {}
    for prefix in ("packs/", "quarantine/"):
        for stored in store.list(prefix):
            data = b"".join(store.open(stored.key))
            assert hashlib.sha256(data).hexdigest() in stored.key
            contents = read_pack(partial(range_of, data), len(data))
            ends = [member.offset_bytes + member.length_bytes for member in contents.members]
            found[stored.key] = {
                event.delivery_id: data[end - event.size_bytes : end]
                for event, end in zip(contents.events, ends, strict=True)
            }
    return found


def range_of(data: bytes, offset_bytes: int, length_bytes: int) -> bytes:
    """Part of an object that was read whole."""
    return data[offset_bytes : offset_bytes + length_bytes]


def instances(database: Database) -> set[tuple[str, str]]:
    """(SOP Instance UID, sha256) of the view `instances`, which must hold each once."""
    rows = database.query(
        "SELECT sop_instance_uid, content_sha256 FROM instances WHERE object_key != ''"
    )
    keys = [(str(row["sop_instance_uid"]), str(row["content_sha256"])) for row in rows]
    assert len(keys) == len(set(keys))
    return set(keys)


def _assert_custody(
    world: World, told: Sequence[Delivery], state_of: Callable[[Delivery], CustodyState]
) -> None:
    recorded = {
        (record.gateway_id, record.state, member.delivery_id, member.content_sha256)
        for record in world.bus.events(CustodyRecorded)
        for member in record.members
    }
    assert recorded == {
        (d.event.gateway_id, state_of(d), d.event.delivery_id, d.event.content.content_sha256)
        for d in told
    }


def _custody_state(delivery: Delivery) -> CustodyState:
    is_quarantined = delivery.event.quarantine_reason is not None
    return CustodyState.QUARANTINED if is_quarantined else CustodyState.ARCHIVED


def _area(delivery: Delivery) -> str:
    return "packs" if delivery.event.quarantine_reason is None else "quarantine"


def _contents(told: Sequence[Delivery]) -> set[tuple[str, str]]:
    return {
        (d.event.content.sop_instance_uid, d.event.content.content_sha256)
        for d in told
        if d.event.quarantine_reason is None
    }


def _ids(members: Iterable[PackMember]) -> set[str]:
    return {member.delivery_id for member in members}


def _told_ids(told: Sequence[Delivery]) -> set[str]:
    return {delivery.event.delivery_id for delivery in told}
