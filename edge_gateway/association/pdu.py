"""The upper layer's PDUs as bytes (PS3.8 9.3): what a requestor asked, and what we answer.

Invariant: total over any input: a PDU decodes or `InvalidPdu` is raised, in time linear to its
length. Must not read a socket and must not decide who may associate.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from edge_gateway.association.items import ae_title, encode_item, uid_text
from edge_gateway.association.limits import CONTEXTS_MAX, PDV_HEADER_BYTES, SYNTAXES_READ_MAX
from edge_gateway.association.user_information import UserInformation, decode_user_information

APPLICATION_CONTEXT_UID = "1.2.840.10008.3.1.1.1"
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_FIXED_REQUEST_BYTES = 68


class PduType(IntEnum):
    """PS3.8 9.3.1."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class AbortReason(IntEnum):
    """Reasons of a provider's A-ABORT (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    INVALID_PARAMETER = 6


class ContextResult(IntEnum):
    """Result of one presentation context (PS3.8 table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class ProtocolError(Exception):
    """The peer broke the protocol; `reason` is what our A-ABORT says. Never carries its data."""

    def __init__(self, reason: AbortReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class InvalidPdu(ProtocolError):
    """A PDU whose inside contradicts itself."""

    def __init__(self, text: str) -> None:
        super().__init__(AbortReason.INVALID_PARAMETER, text)


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as proposed; UIDs are the peer's text without padding."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """Our answer to one presentation context."""

    context_id: int
    result: ContextResult
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2). An AE title that no node may have is ''.

    `fixed_fields` are the titles and reserved bytes, which the A-ASSOCIATE-AC gives back.
    """

    protocol_version: int
    called_ae_title: str
    calling_ae_title: str
    application_context: str
    contexts: tuple[ProposedContext, ...]
    user: UserInformation
    fixed_fields: bytes


def decode_associate_request(body: bytes) -> AssociateRequest:
    """The request in the body of an A-ASSOCIATE-RQ. Raises InvalidPdu."""
    if len(body) < _FIXED_REQUEST_BYTES:
        raise InvalidPdu("A-ASSOCIATE-RQ shorter than its fixed fields")
    application_context = ""
    contexts: list[ProposedContext] = []
    user = UserInformation()
    for item_type, value in _items(body, _FIXED_REQUEST_BYTES):
        if item_type == 0x10:
            application_context = uid_text(value)
        elif item_type == 0x20:
            contexts.append(_proposed_context(value))
        elif item_type == 0x50:
            user = decode_user_information(_items(value, 0))
    _check_contexts(contexts)
    return AssociateRequest(
        protocol_version=int.from_bytes(body[0:2], "big"),
        called_ae_title=ae_title(body[4:20]),
        calling_ae_title=ae_title(body[20:36]),
        application_context=application_context,
        contexts=tuple(contexts),
        user=user,
        fixed_fields=bytes(body[4:_FIXED_REQUEST_BYTES]),
    )


def encode_associate_accept(
    request: AssociateRequest,
    contexts: tuple[AnsweredContext, ...],
    pdu_bytes_max: int,
    implementation: tuple[str, str],
    answers: bytes = b"",
) -> bytes:
    """An A-ASSOCIATE-AC (PS3.8 9.3.3). `implementation` is our class UID and version name,
    `answers` are the sub-items that answer the peer's user information.
    """
    class_uid, version_name = implementation
    user_information = (
        encode_item(0x51, struct.pack(">I", pdu_bytes_max))
        + encode_item(0x52, class_uid.encode("ascii"))
        + encode_item(0x55, version_name.encode("ascii"))
        + answers
    )
    body = (
        struct.pack(">HH", 1, 0)
        + request.fixed_fields
        + encode_item(0x10, APPLICATION_CONTEXT_UID.encode("ascii"))
        + b"".join(_answered_context(context) for context in contexts)
        + encode_item(0x50, user_information)
    )
    return encode_pdu(PduType.ASSOCIATE_AC, body)


def encode_associate_reject(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return encode_pdu(PduType.ASSOCIATE_RJ, bytes((0, result, source, reason)))


def encode_release_response() -> bytes:
    """An A-RELEASE-RP (PS3.8 9.3.7)."""
    return encode_pdu(PduType.RELEASE_RP, bytes(4))


def encode_abort(reason: AbortReason) -> bytes:
    """An A-ABORT of the service provider (PS3.8 9.3.8)."""
    return encode_pdu(PduType.ABORT, bytes((0, 0, 2, reason)))


def encode_command(context_id: int, command_set: bytes, peer_pdu_bytes_max: int) -> bytes:
    """A command set as P-DATA PDUs that the peer can take; usually one (PS3.8 9.3.5)."""
    limit = len(command_set)
    if peer_pdu_bytes_max:
        limit = min(limit, peer_pdu_bytes_max - PDV_HEADER_BYTES)
    pieces: list[bytes] = []
    for start in range(0, len(command_set), limit):
        piece = command_set[start : start + limit]
        is_last = start + limit >= len(command_set)
        pdv = struct.pack(">IBB", len(piece) + 2, context_id, 0x03 if is_last else 0x01)
        pieces.append(encode_pdu(PduType.P_DATA, pdv + piece))
    return b"".join(pieces)


def encode_pdu(pdu_type: PduType, body: bytes) -> bytes:
    """A PDU: type, reserved byte, length, body."""
    return struct.pack(">BBI", pdu_type, 0, len(body)) + body


@dataclass(frozen=True, slots=True)
class Fragment:
    """One presentation data value: a view into the receive buffer, valid until the next read."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


def fragments(body: memoryview) -> Iterator[Fragment]:
    """The PDVs of a P-DATA PDU (PS3.8 9.3.5), in place. Raises InvalidPdu if one does not fit."""
    position, end = 0, len(body)
    if not end:
        raise InvalidPdu("P-DATA without a PDV")
    while position < end:
        if end - position < PDV_HEADER_BYTES:
            raise InvalidPdu("PDV header cut short")
        length, context_id, control = struct.unpack_from(">IBB", body, position)
        finish = position + 4 + length
        if length < 2 or finish > end:
            raise InvalidPdu("PDV length outside its PDU")
        yield Fragment(
            context_id=context_id,
            is_command=bool(control & 1),
            is_last=bool(control & 2),
            data=body[position + PDV_HEADER_BYTES : finish],
        )
        position = finish


def _items(body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    position, end = start, len(body)
    while position < end:
        if end - position < 4:
            raise InvalidPdu("item header cut short")
        item_type, _, length = struct.unpack_from(">BBH", body, position)
        finish = position + 4 + length
        if finish > end:
            raise InvalidPdu(f"item {item_type:#04x} longer than what holds it")
        yield item_type, body[position + 4 : finish]
        position = finish


def _proposed_context(value: bytes) -> ProposedContext:
    if len(value) < 4:
        raise InvalidPdu("presentation context shorter than its fixed fields")
    abstract_syntax = ""
    transfer_syntaxes: list[str] = []
    for item_type, item in _items(value, 4):
        if item_type == 0x30:
            abstract_syntax = uid_text(item)
        elif item_type == 0x40 and len(transfer_syntaxes) < SYNTAXES_READ_MAX:
            transfer_syntaxes.append(uid_text(item))
    return ProposedContext(value[0], abstract_syntax, tuple(transfer_syntaxes))


def _check_contexts(contexts: list[ProposedContext]) -> None:
    identifiers = {context.context_id for context in contexts}
    if len(contexts) > CONTEXTS_MAX or len(identifiers) != len(contexts):
        raise InvalidPdu("too many presentation contexts, or an id used twice")
    if any(identifier % 2 == 0 for identifier in identifiers):
        raise InvalidPdu("even presentation context id")


def _answered_context(context: AnsweredContext) -> bytes:
    head = bytes((context.context_id, 0, context.result, 0))
    return encode_item(0x21, head + encode_item(0x40, context.transfer_syntax.encode("ascii")))
