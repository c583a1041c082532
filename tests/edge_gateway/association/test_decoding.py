"""Decoders of what a peer sends are total: a value, or the one error; never anything else."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_RQ

from edge_gateway.association.command_set import (
    Operation,
    decode_command,
    decode_response,
    encode_request,
    encode_response,
)
from edge_gateway.association.contexts import answer_context
from edge_gateway.association.negotiation import (
    Peer,
    decode_associate_accept,
    encode_associate_request,
)
from edge_gateway.association.pdu import (
    InvalidPdu,
    decode_associate_request,
    encode_associate_accept,
    encode_command,
    fragments,
)
from load.hostile.raw_peer import associate_body, store_command

_MUTATION = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8)


def mutated(data: bytes, mutation: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(data)
    for position, value in mutation:
        changed[position % len(changed)] = value
    return bytes(changed[: cut % (len(changed) + 1)])


@settings(max_examples=400, deadline=None)
@given(_MUTATION, st.integers(0, 10_000))
def test_any_request_decodes_or_is_invalid(mutation: list[tuple[int, int]], cut: int) -> None:
    try:
        decode_associate_request(mutated(associate_body(), mutation, cut))
    except InvalidPdu:
        return


@settings(max_examples=400, deadline=None)
@given(_MUTATION, st.integers(0, 10_000))
def test_any_command_set_decodes_or_is_invalid(mutation: list[tuple[int, int]], cut: int) -> None:
    data = mutated(store_command(), mutation, cut)
    for decode in (decode_command, decode_response):
        try:
            decode(data)
        except InvalidPdu:
            continue


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
def test_any_p_data_is_fragments_or_invalid(data: bytes) -> None:
    try:
        found = list(fragments(memoryview(data)))
    except InvalidPdu:
        return
    assert sum(len(fragment.data) + 6 for fragment in found) == len(data)


@settings(max_examples=400, deadline=None)
@given(_MUTATION, st.integers(0, 10_000))
def test_any_accept_decodes_or_is_invalid(mutation: list[tuple[int, int]], cut: int) -> None:
    request = decode_associate_request(associate_body())
    contexts = tuple(answer_context(context) for context in request.contexts)
    accept = encode_associate_accept(request, contexts, 16384, ("1.2.3", "V1"))[6:]
    try:
        decode_associate_accept(mutated(accept, mutation, cut))
    except InvalidPdu:
        return


def test_our_reading_of_a_request_is_pynetdicoms() -> None:
    contexts = [(f"1.2.840.10008.5.1.4.1.1.{n}", f"1.2.840.10008.1.2.4.{n}") for n in range(128)]
    encoded = encode_associate_request(Peer("h", 1, "NORTH", "CT1"), contexts, 32768)
    ours = decode_associate_request(encoded[6:])
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(encoded)
    assert ours.called_ae_title == theirs.called_ae_title.strip()
    assert ours.calling_ae_title == theirs.calling_ae_title.strip()
    assert ours.user.pdu_bytes_max == 32768
    assert ours.user.implementation_class_uid == theirs.user_information.implementation_class_uid
    assert [(c.abstract_syntax, *c.transfer_syntaxes) for c in ours.contexts] == contexts
    assert [c.context_id for c in ours.contexts] == list(range(1, 256, 2))


@given(st.integers(8, 400))
def test_a_response_in_pieces_is_the_response(limit: int) -> None:
    command = decode_command(encode_request(Operation.C_STORE, 9, ("1.2", "1.3.4")))
    response = encode_response(command, 0xA700, "out-of-resources x", ("1.2", "1.3.4"))
    stream, joined = encode_command(5, response, limit), b""
    while stream:
        length = struct.unpack(">I", stream[2:6])[0]
        assert length <= limit
        (fragment,) = fragments(memoryview(stream[6 : 6 + length]))
        joined += bytes(fragment.data)
        stream = stream[6 + length :]
    assert joined == response
    decoded = decode_response(joined)
    assert (decoded.message_id, decoded.status) == (9, 0xA700)
    assert decoded.comment == "out-of-resources x"
