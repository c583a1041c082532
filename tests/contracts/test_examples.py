"""Every event has examples, they survive both forms, and they belong together."""

from __future__ import annotations

import hashlib
import io
from dataclasses import fields

import pytest

from consumers.part10 import part10_head
from contracts.codec import decode, encode, from_plain, to_plain
from contracts.events import (
    EVENT_TYPES,
    Area,
    AssociationReceipt,
    CustodyRecorded,
    Event,
    GatewayState,
    InstanceReceived,
    PackArchived,
    PackReplicated,
)
from contracts.example_catalog import (
    example_payload,
    examples_of,
    from_json,
    named_examples_of,
    to_json,
)
from contracts.packs import PackAssembly
from contracts.schema_catalog import newest
from contracts.topics import BY_EVENT

EXAMPLES_MIN = 3
ALL = [(kind, name, event) for kind in EVENT_TYPES for name, event in named_examples_of(kind)]
IDS = [f"{kind.__name__}-{name}" for kind, name, _ in ALL]


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_event_has_a_schema_a_topic_and_examples(event_type: type[Event]) -> None:
    assert len(examples_of(event_type)) >= EXAMPLES_MIN
    assert BY_EVENT[event_type].event_type is event_type
    schema = newest(event_type).parsed
    assert [field["name"] for field in schema["fields"]] == [f.name for f in fields(event_type)]


@pytest.mark.parametrize(("kind", "name", "event"), ALL, ids=IDS)
def test_an_example_survives_avro_and_json(kind: type[Event], name: str, event: Event) -> None:
    assert decode(encode(event), kind) == event
    assert from_plain(to_plain(event), kind) == event
    assert from_json(to_json(event), kind) == event


@pytest.mark.parametrize(
    "damage",
    [
        (b'"boot_id"', b'"boot"'),  # a field that does not exist
        (b'"spool_bytes": 0', b'"spool_bytes": "0"'),  # a text where a number stands
        (b'"is_publishing": true', b'"is_publishing": 1'),
    ],
)
def test_a_faulty_example_is_refused(damage: tuple[bytes, bytes]) -> None:
    idle = dict(named_examples_of(GatewayState))["idle"]
    broken = to_json(idle).replace(*damage)
    assert broken != to_json(idle)
    with pytest.raises(ValueError):
        from_json(broken, GatewayState)


@pytest.mark.parametrize("event", examples_of(InstanceReceived), ids=lambda e: e.delivery_id)
def test_the_payload_examples_are_the_bytes_of_the_received_ones(event: InstanceReceived) -> None:
    chunks = example_payload(event.delivery_id)
    data = b"".join(chunk.bytes for chunk in chunks)
    assert [chunk.chunk_index for chunk in chunks] == list(range(len(chunks)))
    assert {chunk.chunk_count for chunk in chunks} == {len(chunks)}
    assert len(chunks) == len(event.payload_offsets or ())
    assert (len(data), hashlib.sha256(data).hexdigest()) == (
        event.size_bytes,
        event.content.content_sha256,
    )


@pytest.mark.parametrize("pack", examples_of(PackArchived), ids=lambda p: p.object_sha256[:8])
def test_the_pack_examples_are_packs_of_the_received_ones(pack: PackArchived) -> None:
    events = {event.delivery_id: event for event in examples_of(InstanceReceived)}
    assembly = PackAssembly(io.BytesIO())
    for member in pack.members:
        event = events[member.delivery_id]
        data = [chunk.bytes for chunk in example_payload(event.delivery_id)]
        assembly.add(event, part10_head(event), data)
    made = assembly.finish()
    assert made.members == pack.members
    assert (made.object_sha256, made.size_bytes) == (pack.object_sha256, pack.object_size_bytes)
    assert made.key(pack.area) == pack.object_key


def test_every_received_example_stands_in_exactly_one_pack() -> None:
    packs = examples_of(PackArchived)
    located = sorted(member.delivery_id for pack in packs for member in pack.members)
    assert located == sorted(event.delivery_id for event in examples_of(InstanceReceived))
    for pack in packs:
        studies = {member.content.study_instance_uid for member in pack.members}
        assert len(studies) == 1, "a pack never mixes studies"
        is_quarantined = {
            event.quarantine_reason is not None
            for event in examples_of(InstanceReceived)
            if event.delivery_id in {member.delivery_id for member in pack.members}
        }
        assert is_quarantined == {pack.area is Area.QUARANTINE}


def test_replicated_examples_repeat_the_archived_ones() -> None:
    archived = {pack.object_key: pack for pack in examples_of(PackArchived)}
    for copy in examples_of(PackReplicated):
        pack = archived[copy.object_key]
        assert (copy.object_sha256, copy.members) == (pack.object_sha256, pack.members)


def test_the_examples_show_the_edges() -> None:
    received = examples_of(InstanceReceived)
    assert any(not event.content.study_instance_uid for event in received)
    assert any(event.quarantine_reason for event in received)
    assert any(not event.header_complete for event in received)
    assert any(not event.header.isascii() for event in received)
    contents = [event.content for event in received]
    assert len(set(contents)) < len(contents), "one content delivered twice"
    instances = {content.sop_instance_uid for content in contents}
    assert len(instances) < len(set(contents)), "one SOP Instance UID with two contents"
    receipts = examples_of(AssociationReceipt)
    assert {page.ended for page in receipts} >= {None, "released", "gateway_lost"}
    assert len({custody.state for custody in examples_of(CustodyRecorded)}) == 4
