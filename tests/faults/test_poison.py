"""Poison among good records: set aside byte for byte, and whole again after a fix."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from consumers import metadata_index
from contracts.codec import encode
from contracts.events import InstanceReceived
from contracts.schema_catalog import newest, versions_by_id
from contracts.topics import RECEIVED
from infra.settings import Settings
from operations.dead_letters import dead_letters, redrive
from tests.consumers import story
from tests.consumers.world import member_of, world_of

DELIVERIES, POISON = 200, 2
# A version of the event that this build does not know yet.
LATER_SCHEMA_ID = 0x7FFF_FFF1
MAGIC_BYTES = 1


def from_a_later_version(event: InstanceReceived) -> bytes:
    encoded = encode(event)
    return encoded[:MAGIC_BYTES] + LATER_SCHEMA_ID.to_bytes(4, "big") + encoded[MAGIC_BYTES + 4 :]


def test_one_percent_poison_is_set_aside_and_redriven_whole(
    engines: Settings,
    tmp_path: Path,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("seed", seed)
    with world_of(engines, tmp_path) as world:
        told = [d.event for d in story.deliveries(DELIVERIES)]
        chosen = set(random.Random(seed).sample(range(DELIVERIES), POISON))
        records = [
            world.bus.event_record(
                event,
                story.key_of(event),
                from_a_later_version(event) if number in chosen else encode(event),
                str(number),
            )
            for number, event in enumerate(told)
        ]
        world.bus.publish(records)
        ids = "SELECT delivery_id FROM deliveries"
        database = world.engines.primary.database
        with member_of(world, metadata_index.SPEC):
            world.wait_committed(metadata_index.SPEC)
        letters = dead_letters(world.settings.kafka, [RECEIVED.dlq_name])
        assert {letter.value for letter in letters} == {records[n].value for n in chosen}
        assert len(database.query(ids)) == DELIVERIES - POISON
        # The fix is a build that knows the version.
        monkeypatch.setitem(versions_by_id(), LATER_SCHEMA_ID, newest(InstanceReceived))
        again = list(redrive(world.engines.publisher, letters))
        with member_of(world, metadata_index.SPEC):
            world.wait_committed(metadata_index.SPEC)
        rows = [str(row["delivery_id"]) for row in database.query(ids)]
        assert sorted(rows) == sorted(event.delivery_id for event in told)
    record_property("figure", f"{len(again)} of {POISON} poisoned of {DELIVERIES} recovered")
