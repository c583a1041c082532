"""Command sets of DIMSE messages (PS3.7 6.3.1, annex E): Implicit VR Little Endian, group 0000.

Invariant: total over any input; the group length is never believed, and a UID is kept as the
peer wrote it less its padding. Must not look at a data set.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from contracts.identity import is_uid
from edge_gateway.association.pdu import InvalidPdu

RESPONSE = 0x8000
NO_DATA_SET = 0x0101
_ACTION_TYPE = 0x1008
_DATA_SET_FOLLOWS = 0x0001
_PRIORITY_MEDIUM = 0x0000
_ERROR_COMMENT_CHARACTERS_MAX = 64
_COMMAND_FIELDS = frozenset(
    # C-STORE, C-GET, C-FIND, C-MOVE, C-ECHO, N-*, C-CANCEL (PS3.7 E.1-1)
    (0x0001, 0x0010, 0x0020, 0x0021, 0x0030, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150, 0x0FFF)
)


class Operation(IntEnum):
    """The commands that we serve, or pass over."""

    C_STORE = 0x0001
    C_ECHO = 0x0030
    N_ACTION = 0x0130
    C_CANCEL = 0x0FFF


@dataclass(frozen=True, slots=True)
class Response:
    """What a peer answered to a request of ours. `comment` is its Error Comment, '' for none."""

    message_id: int
    status: int
    comment: str


@dataclass(frozen=True, slots=True)
class Command:
    """A request of the peer. UIDs are '' where they are missing; `action_type` is N-ACTION's."""

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str
    sop_instance_uid: str
    action_type: int | None = None


def decode_command(data: bytes) -> Command:
    """The request in a command set. Raises InvalidPdu where it is none that can be answered."""
    elements = _elements(data)
    field = _unsigned(elements, 0x0100)
    if field not in _COMMAND_FIELDS:
        # A response (bit 15) to nothing we asked, or a command that the standard does not know.
        raise InvalidPdu("command field is no request")
    return Command(
        field=field,
        message_id=_unsigned(elements, 0x0120 if field == Operation.C_CANCEL else 0x0110),
        has_data_set=_unsigned(elements, 0x0800) != NO_DATA_SET,
        sop_class_uid=_text(elements, 0x0002) or _text(elements, 0x0003),
        sop_instance_uid=_text(elements, 0x1000) or _text(elements, 0x1001),
        action_type=_unsigned(elements, _ACTION_TYPE) if _ACTION_TYPE in elements else None,
    )


def encode_response(
    command: Command, status: int, comment: str = "", uids: tuple[str, str] = ("", "")
) -> bytes:
    """The response's command set. `uids` are the affected SOP class and instance.

    What is no UID is left out, whatever the peer sent. The Error Comment (0000,0902) is LO: what
    is over 64 characters is cut.
    """
    sop_class_uid, sop_instance_uid = (uid if is_uid(uid) else "" for uid in uids)
    text = comment.encode("ascii", "replace")[:_ERROR_COMMENT_CHARACTERS_MAX]
    body = b"".join(
        (
            _element(0x0002, _padded(sop_class_uid.encode("ascii"), b"\0")),
            _element(0x0100, struct.pack("<H", command.field | RESPONSE)),
            _element(0x0120, struct.pack("<H", command.message_id)),
            _element(0x0800, struct.pack("<H", NO_DATA_SET)),
            _element(0x0900, struct.pack("<H", status)),
            _element(0x0902, _padded(text, b" ")),
            _element(0x1000, _padded(sop_instance_uid.encode("ascii"), b"\0")),
            _action_type(command),
        )
    )
    return _element(0x0000, struct.pack("<I", len(body))) + body


def encode_request(operation: Operation, message_id: int, uids: tuple[str, str]) -> bytes:
    """A C-STORE-RQ with a data set (PS3.7 9.3.1.1), or a C-ECHO-RQ (9.3.5.1).

    `uids` are the affected SOP class and, for C-STORE, instance.
    """
    sop_class_uid, sop_instance_uid = uids
    is_store = operation == Operation.C_STORE
    body = b"".join(
        (
            _element(0x0002, _padded(sop_class_uid.encode("ascii"), b"\0")),
            _element(0x0100, struct.pack("<H", operation)),
            _element(0x0110, struct.pack("<H", message_id)),
            _element(0x0700, struct.pack("<H", _PRIORITY_MEDIUM) if is_store else b""),
            _element(0x0800, struct.pack("<H", _DATA_SET_FOLLOWS if is_store else NO_DATA_SET)),
            _element(0x1000, _padded(sop_instance_uid.encode("ascii"), b"\0")),
        )
    )
    return _element(0x0000, struct.pack("<I", len(body))) + body


def decode_response(data: bytes) -> Response:
    """The response in a command set. Raises InvalidPdu where it is none."""
    elements = _elements(data)
    if not _unsigned(elements, 0x0100) & RESPONSE:
        raise InvalidPdu("command field is no response")
    return Response(
        message_id=_unsigned(elements, 0x0120),
        status=_unsigned(elements, 0x0900),
        comment=_text(elements, 0x0902),
    )


def _elements(data: bytes) -> dict[int, bytes]:
    elements: dict[int, bytes] = {}
    position, end = 0, len(data)
    while position < end:
        if end - position < 8:
            raise InvalidPdu("command set element cut short")
        group, element, length = struct.unpack_from("<HHI", data, position)
        finish = position + 8 + length
        if group != 0 or finish > end:
            raise InvalidPdu("command set element outside group 0000 or its message")
        elements[element] = data[position + 8 : finish]
        position = finish
    return elements


def _unsigned(elements: Mapping[int, bytes], element: int) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:
        raise InvalidPdu(f"(0000,{element:04x}) is missing or has no two bytes")
    return int.from_bytes(value, "little")


def _text(elements: Mapping[int, bytes], element: int) -> str:
    # One trailing NUL is the padding; senders use spaces too (PS3.5 9.1).
    return elements.get(element, b"").rstrip(b"\0 ").decode("latin-1")


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, element, len(value)) + value if value else b""


def _action_type(command: Command) -> bytes:
    if command.field != Operation.N_ACTION or command.action_type is None:
        return b""
    return _element(_ACTION_TYPE, struct.pack("<H", command.action_type))


def _padded(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) % 2 else value
