"""The PDU parser under fuzzing: each decoder against a second reading from the standard.

Invariant: a decoder gives what `reference_pdus` gives, or raises InvalidPdu where that finds
nothing; nothing else leaves it. The first byte of a case chooses the decoder. Must not test who
may associate or what is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from edge_gateway.association.command_set import (
    Command,
    Operation,
    decode_command,
    decode_response,
    encode_request,
    encode_response,
)
from edge_gateway.association.connection import Connection, ConnectionLost
from edge_gateway.association.contexts import answer_context
from edge_gateway.association.limits import AssociationLimits
from edge_gateway.association.negotiation import Peer as NegotiatingPeer
from edge_gateway.association.negotiation import decode_associate_accept, encode_associate_request
from edge_gateway.association.pdu import (
    AbortReason,
    AssociateRequest,
    ContextResult,
    InvalidPdu,
    ProtocolError,
    decode_associate_request,
    encode_abort,
    encode_associate_accept,
    encode_associate_reject,
    encode_command,
    encode_release_response,
    fragments,
)
from edge_gateway.association.pdu_reader import PduReader
from tests.fuzz import reference_pdus as reference
from tests.fuzz.target import require

_Value = TypeVar("_Value")
_IMPLEMENTATION = ("1.2.826.0.1.3680043.8.498.1", "SYNTHETIC")
# pynetdicom needs 200 times as long for an A-ASSOCIATE-AC as our own parser for the request.
_PYNETDICOM_EVERY = 16
STREAM_HEAD_BYTES = 5
_OWN_OPERATIONS = ((Operation.C_STORE, 0x0001, "1.2.3"), (Operation.C_ECHO, 0x0030, "1.2"))


def check(case: bytes) -> None:
    """One case. Raises Violation, or what a decoder should not have let out."""
    if case:
        _CHECKS[case[0] % len(_CHECKS)](case[1:])


def _outcome(decode: Callable[[bytes], _Value], data: bytes) -> _Value | None:
    try:
        return decode(data)
    except InvalidPdu as invalid:
        require(invalid.reason is AbortReason.INVALID_PARAMETER, "reason of an invalid PDU")
        return None


def _check_request(body: bytes) -> None:
    ours, expected = _outcome(decode_associate_request, body), reference.associate_request(body)
    require((ours is None) == (expected is None), "A-ASSOCIATE-RQ: invalid for one reading only")
    if ours is None or expected is None:
        return
    contexts = [(c.context_id, c.abstract_syntax, c.transfer_syntaxes) for c in ours.contexts]
    require(contexts == expected.contexts, "A-ASSOCIATE-RQ: contexts")
    found = (ours.protocol_version, ours.called_ae_title, ours.calling_ae_title)
    require(found == (expected.version, expected.called, expected.calling), "fixed fields")
    require(ours.application_context == expected.application_context, "application context")
    user = ours.user
    said = (user.pdu_bytes_max, user.implementation_class_uid, user.implementation_version_name)
    wanted = (expected.pdu_bytes_max, expected.class_uid, expected.version_name)
    require(said == wanted, "A-ASSOCIATE-RQ: user information")
    _check_answer(body, ours)


def _check_answer(body: bytes, request: AssociateRequest) -> None:
    """The A-ASSOCIATE-AC that we would send says what was decided, for two readers."""
    answers = tuple(
        answer_context(proposed, serves_commitment=bool(body[3] & 1))
        for proposed in request.contexts
    )
    accept = encode_associate_accept(request, answers, 16_384, _IMPLEMENTATION)
    top = reference.items(accept[6 + 68 :])
    require(top is not None, "A-ASSOCIATE-AC: items fill the PDU")
    require(int.from_bytes(accept[2:6], "big") == len(accept) - 6, "A-ASSOCIATE-AC: length")
    require(accept[10:74] == body[4:68], "A-ASSOCIATE-AC: titles given back")
    told = [(value[0], value[2]) for kind, value in top or [] if kind == 0x21]
    require(told == [(a.context_id, int(a.result)) for a in answers], "A-ASSOCIATE-AC: results")
    if len(body) % _PYNETDICOM_EVERY == 0 and answers:
        accepted, pdu_bytes_max = decode_associate_accept(accept[6:])
        ours = {a.context_id for a in answers if a.result == ContextResult.ACCEPTANCE}
        require(accepted == ours and pdu_bytes_max == 16_384, "A-ASSOCIATE-AC: pynetdicom's view")


def _check_fragments(body: bytes) -> None:
    expected, is_valid = reference.pdvs(body)
    found = []
    try:
        for fragment in fragments(memoryview(body)):
            data = bytes(fragment.data)
            found.append((fragment.context_id, fragment.is_command, fragment.is_last, data))
        ended = True
    except InvalidPdu:
        ended = False
    require(found == expected and ended == is_valid, "P-DATA: PDVs")


def _check_command(data: bytes) -> None:
    ours = _outcome(decode_command, data)
    found = ours and (
        ours.field,
        ours.message_id,
        ours.has_data_set,
        ours.sop_class_uid,
        ours.sop_instance_uid,
        ours.action_type,
    )
    require(found == reference.command(data), "command set: request")
    if ours is not None:
        _check_response_to(ours, len(data))


def _check_response_to(command: Command, size_bytes: int) -> None:
    comment = "x" * (size_bytes % 70)
    uids = (command.sop_class_uid, command.sop_instance_uid)
    encoded = encode_response(command, 0xA700, comment, uids)
    found = reference.elements(encoded)
    require(found is not None, "response: a command set")
    require(int.from_bytes((found or {})[0], "little") == len(encoded) - 12, "response: length")
    expected = (command.message_id, 0xA700, comment[:64])
    require(reference.response(encoded) == expected, "response: what was to be said")
    limit = size_bytes % 5 and size_bytes + 2
    require(_joined(encode_command(7, encoded, limit), limit) == encoded, "response: in pieces")


def _joined(stream: bytes, limit: int) -> bytes:
    joined = b""
    while stream:
        length = int.from_bytes(stream[2:6], "big")
        require(stream[0] == 4 and (not limit or length <= limit), "P-DATA: the peer's maximum")
        (pdv,), is_valid = reference.pdvs(stream[6 : 6 + length])
        stream = stream[6 + length :]
        require(is_valid and pdv[:3] == (7, True, not stream), "P-DATA: control header")
        joined += pdv[3]
    return joined


def _check_response(data: bytes) -> None:
    ours = _outcome(decode_response, data)
    found = ours and (ours.message_id, ours.status, ours.comment)
    require(found == reference.response(data), "command set: response")


def _check_accept(body: bytes) -> None:
    """pynetdicom reads it, so only what it may cost and give is ours to promise."""
    ours = _outcome(decode_associate_accept, body)
    if ours is not None:
        accepted, pdu_bytes_max = ours
        numbers = {value[0] for kind, value in reference.items(body[68:]) or [] if value}
        require(accepted <= numbers or reference.items(body[68:]) is None, "accepted contexts")
        require(not 0 < pdu_bytes_max <= 12, "a maximum PDU length that holds a message")


class PiecewiseConnection(Connection):
    """A connection that has already said all it will: `receive_into` gives it piece by piece.

    Deterministic where a socket is not: the same pieces each time, and nothing to wait for.
    """

    def __init__(self, data: bytes, piece_bytes: int) -> None:
        self._rest = data
        self._piece_bytes = piece_bytes

    def receive_into(self, buffer: memoryview, deadline: float, is_idle: bool) -> int:
        count = min(len(buffer), self._piece_bytes, len(self._rest))
        if not count:
            raise ConnectionLost("peer closed the connection")
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def stream_of(case: bytes) -> tuple[bytes, int, int]:
    """The bytes on the connection, the length of its pieces, and our maximum PDU length.

    Zero bytes are put in, up to 255 KiB, so that a short case can hold a long PDU.
    """
    head, rest = case[:STREAM_HEAD_BYTES].ljust(STREAM_HEAD_BYTES, b"\0"), case[STREAM_HEAD_BYTES:]
    at = int.from_bytes(head[3:5], "big")
    pdu_bytes_max = 64 << head[0] % 13
    return rest[:at] + bytes(head[2] << 10) + rest[at:], 1 << head[1] % 20, pdu_bytes_max


def read_stream(connection: Connection, pdu_bytes_max: int) -> list[tuple[int, bytes] | str]:
    """What a PduReader makes of a connection, in the form of `reference_pdus.stream`."""
    limits = AssociationLimits(pdu_bytes_max=pdu_bytes_max)
    reader, found = PduReader(connection, limits), list[tuple[int, bytes] | str]()
    try:
        found.append((1, reader.read_request(time.monotonic() + 60)))
        while True:
            pdu = reader.read(is_idle=False)
            found.append((int(pdu.pdu_type), bytes(pdu.body)))
    except ConnectionLost:
        found.append("lost")
    except ProtocolError as fault:
        require(encode_abort(fault.reason)[-1] == fault.reason, "A-ABORT: reason")
        found.append(fault.reason.name)
    return found


def _check_stream(case: bytes) -> None:
    data, piece_bytes, pdu_bytes_max = stream_of(case)
    # A megabyte byte by byte says nothing that a kilobyte does not.
    piece_bytes = max(piece_bytes, len(data) >> 10)
    found = read_stream(PiecewiseConnection(data, piece_bytes), pdu_bytes_max)
    require(found == list(reference.stream(data, pdu_bytes_max)), "stream: PDUs and its end")


def _check_short_answers(case: bytes) -> None:
    numbers = (*case[:3], 1, 2, 3)[:3]
    reject = encode_associate_reject(*numbers)
    require(reject == bytes((3, 0, 0, 0, 0, 4, 0, *numbers)), "A-ASSOCIATE-RJ")
    require(encode_release_response() == bytes((6, 0, 0, 0, 0, 4, 0, 0, 0, 0)), "A-RELEASE-RP")


def _check_own_requests(case: bytes) -> None:
    """What we ask as a requestor is what was to be asked, as the second reading has it."""
    number = int.from_bytes(case[:2], "big")
    contexts = [(f"1.2.{byte}", f"1.2.840.{byte}") for byte in case[2:5]]
    peer = NegotiatingPeer("127.0.0.1", 104, "NORTH", "SOUTH")
    found = reference.associate_request(encode_associate_request(peer, contexts, number)[6:])
    require(found is not None, "own A-ASSOCIATE-RQ: valid")
    if found is not None:
        asked = [(c[1], *c[2]) for c in found.contexts]
        require(asked == contexts and found.pdu_bytes_max == number, "own A-ASSOCIATE-RQ")
    for operation, field, sop_class in (
        (Operation.C_STORE, 1, "1.2.3"),
        (Operation.C_ECHO, 48, "1"),
    ):
        is_store = operation is Operation.C_STORE
        instance = "1.2.34" if is_store else ""
        encoded = encode_request(operation, number, (sop_class, instance))
        expected = (field, number, is_store, sop_class, instance, None)
        require(reference.command(encoded) == expected, "own command set")


_CHECKS = (
    _check_request,
    _check_fragments,
    _check_command,
    _check_response,
    _check_accept,
    _check_stream,
    _check_short_answers,
    _check_own_requests,
)
REQUEST, FRAGMENTS, COMMAND, RESPONSE, ACCEPT, STREAM, SHORT_ANSWERS, OWN_REQUESTS = range(
    len(_CHECKS)
)
