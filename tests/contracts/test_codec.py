"""Bytes to events: every kind of damage has its reason, and nothing but PoisonError gets out."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import fastavro
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts import codec
from contracts.codec import EVENT_BYTES_MAX, decode, encode, encode_chunk, to_plain
from contracts.events import EVENT_TYPES, Event, InstanceReceived, PackArchived, PayloadChunk
from contracts.example_catalog import examples_of
from contracts.failures import PoisonError, Reason
from contracts.schema_catalog import newest

GOOD = encode(examples_of(InstanceReceived)[0])
ANY_EVENT = st.sampled_from([e for kind in EVENT_TYPES for e in examples_of(kind)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.NOT_CONFLUENT),
        (b"\x00\x00\x00\x00", Reason.NOT_CONFLUENT),
        (b"\x01" + GOOD[1:], Reason.NOT_CONFLUENT),
        (b'{"sop_instance_uid": "1.2"}', Reason.NOT_CONFLUENT),
        (struct.pack(">bI", 0, 12345) + GOOD[5:], Reason.UNKNOWN_SCHEMA),
        (encode(examples_of(PackArchived)[0]), Reason.WRONG_EVENT),
        (GOOD[:5], Reason.MALFORMED_AVRO),
        (GOOD[:-1], Reason.MALFORMED_AVRO),
        (GOOD + b"\x00", Reason.MALFORMED_AVRO),
        (GOOD[:5] + b"\xff" * 40, Reason.MALFORMED_AVRO),
        (bytes(EVENT_BYTES_MAX + 1), Reason.OVERSIZE),
    ],
)
def test_damage_is_named_by_its_reason(data: bytes, reason: Reason) -> None:
    with pytest.raises(PoisonError) as caught:
        decode(data, InstanceReceived)
    assert caught.value.reason is reason
    assert "Example" not in str(caught.value), "no value of a record in a failure's text"


def test_a_record_of_an_older_schema_gets_the_new_fields_defaults() -> None:
    older = orjson.loads(newest(InstanceReceived).text)
    older["fields"] = [f for f in older["fields"] if f["name"] != "header_key_id"]
    parsed = fastavro.parse_schema(older, named_schemas={})
    event = examples_of(InstanceReceived)[0]
    body = io.BytesIO(GOOD[:5])
    body.seek(5)
    fastavro.schemaless_writer(body, parsed, to_plain(event))
    assert codec._decode_body(body.getvalue(), parsed, InstanceReceived) == event


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300), kind=st.sampled_from(EVENT_TYPES))
@example(data=b"\x00" * 5, kind=InstanceReceived)
def test_any_bytes_raise_nothing_but_poison(data: bytes, kind: type[Event]) -> None:
    body = struct.pack(">bI", 0, newest(kind).schema_id) + data
    for candidate in (data, body):
        _decodes_or_poisons(lambda given: decode(given, kind), candidate)


@settings(max_examples=300, deadline=None)
@given(event=ANY_EVENT, position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_one_altered_byte_raises_nothing_but_poison(
    event: Event, position: int, value: int
) -> None:
    data = bytearray(encode(event))
    data[position % len(data)] = value
    _decodes_or_poisons(lambda given: decode(given, type(event)), bytes(data))


@settings(max_examples=200, deadline=None)
@given(event=ANY_EVENT, end=st.integers(0, 10_000))
def test_a_cut_record_is_poison(event: Event, end: int) -> None:
    data = encode(event)
    cut = data[: end % len(data)]
    with pytest.raises(PoisonError):
        decode(cut, type(event))


@settings(max_examples=300, deadline=None)
@given(
    delivery_id=st.text(max_size=80),
    index=st.integers(-(2**63), 2**63 - 1),
    count=st.integers(-(2**63), 2**63 - 1),
    data=st.binary(max_size=300),
)
@example(delivery_id="", index=0, count=1, data=b"")
@example(delivery_id="é" * 70, index=63, count=64, data=bytes(8192))
def test_a_chunk_is_framed_as_its_schema_says(
    delivery_id: str, index: int, count: int, data: bytes
) -> None:
    chunk = PayloadChunk(delivery_id, index, count, data)
    version = newest(PayloadChunk)
    body = io.BytesIO()
    body.write(struct.pack(">bI", 0, version.schema_id))
    fastavro.schemaless_writer(body, version.parsed, to_plain(chunk))
    assert encode(chunk) == body.getvalue()
    assert encode_chunk(delivery_id, index, count, memoryview(data)) == body.getvalue()
    assert decode(encode(chunk), PayloadChunk) == chunk


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_event_comes_back_as_it_was(kind: type[Event]) -> None:
    for event in examples_of(kind):
        assert decode(encode(event), kind) == event


def test_a_declared_length_is_not_believed() -> None:
    """A string that claims 2^40 bytes must not be allocated before its bytes are looked for."""
    bomb = struct.pack(">bI", 0, newest(InstanceReceived).schema_id) + _zigzag(2**40)
    with pytest.raises(PoisonError):
        decode(bomb, InstanceReceived)


def test_the_codec_never_asks_a_registry() -> None:
    assert not {"socket", "urllib", "http", "requests"} & set(vars(codec))


def _decodes_or_poisons(read: Callable[[bytes], Event], data: bytes) -> None:
    try:
        read(data)
    except PoisonError as failure:
        assert failure.reason in Reason


def _zigzag(number: int) -> bytes:
    value, out = number << 1, bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
