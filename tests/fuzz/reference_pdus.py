"""PDUs and command sets read a second time, straight from PS3.8 9.3 and PS3.7 6.3.

Invariant: it shares no code with the product and does not care for speed; None says "invalid".
It must not be lenient where the product's documents are strict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

RQ, AC, P_DATA = 1, 2, 4
NO_DATA_SET = 0x0101
# C-STORE, C-GET, C-FIND, C-MOVE, C-ECHO; N-EVENT-REPORT to N-DELETE; C-CANCEL (PS3.7 E.1)
REQUEST_FIELDS = {0x0001, 0x0010, 0x0020, 0x0021, 0x0030, *range(0x0100, 0x0151, 0x10), 0x0FFF}


def items(data: bytes) -> list[tuple[int, bytes]] | None:
    """Items of type, reserved byte, 16-bit length and value that fill `data` exactly."""
    found = []
    while data:
        length = int.from_bytes(data[2:4], "big")
        if len(data) < 4 or len(data) - 4 < length:
            return None
        found.append((data[0], data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def title(value: bytes) -> str:
    """An AE title, '' where it is none."""
    text = value.decode("latin-1").rstrip("\0")
    while text.startswith(" "):
        text = text[1:]
    while text.endswith(" "):
        text = text[:-1]
    return text if all(0x20 <= ord(c) < 0x7F and c != "\\" for c in text) else ""


def uid(value: bytes) -> str:
    """A UID as the peer wrote it, less its padding, cut behind the first character too many."""
    text = value.decode("latin-1")
    while text and text[-1] in "\0 ":
        text = text[:-1]
    return text[:65]


@dataclass
class Request:
    """What an A-ASSOCIATE-RQ says."""

    version: int
    called: str
    calling: str
    application_context: str = ""
    contexts: list[tuple[int, str, tuple[str, ...]]] = field(default_factory=list)
    pdu_bytes_max: int = 0
    class_uid: str = ""
    version_name: str = ""


def associate_request(body: bytes) -> Request | None:
    """The request (PS3.8 9.3.2), of each context the first 16 transfer syntaxes."""
    top = items(body[68:]) if len(body) >= 68 else None
    if top is None:
        return None
    request = Request(body[0] << 8 | body[1], title(body[4:20]), title(body[20:36]))
    for kind, value in top:
        if kind == 0x10:
            request.application_context = uid(value)
        elif kind == 0x20:
            inside = items(value[4:]) if len(value) >= 4 else None
            if inside is None:
                return None
            abstract = [uid(v) for k, v in inside if k == 0x30]
            syntaxes = tuple(uid(v) for k, v in inside if k == 0x40)[:16]
            request.contexts.append((value[0], abstract[-1] if abstract else "", syntaxes))
        elif kind == 0x50 and not _take_user_items(request, value):
            return None
    numbers = [number for number, _, _ in request.contexts]
    if any(n not in range(1, 256, 2) for n in numbers) or len(set(numbers)) < len(numbers):
        return None
    return request


def _take_user_items(request: Request, value: bytes) -> bool:
    inside = items(value)
    request.pdu_bytes_max, request.class_uid, request.version_name = 0, "", ""
    for kind, item in inside or []:
        if kind == 0x51 and len(item) == 4:
            request.pdu_bytes_max = int.from_bytes(item, "big")
        elif kind == 0x52:
            request.class_uid = uid(item)
        elif kind == 0x55:
            request.version_name = title(item[:16])
    return inside is not None


def pdvs(body: bytes) -> tuple[list[tuple[int, bool, bool, bytes]], bool]:
    """The PDVs of a P-DATA body up to the first that is wrong, and whether all are right."""
    found: list[tuple[int, bool, bool, bytes]] = []
    rest = body
    while rest:
        length = int.from_bytes(rest[:4], "big")
        if len(rest) < 6 or length < 2 or length > len(rest) - 4:
            return found, False
        context, control = rest[4], rest[5]
        found.append((context, control % 2 == 1, control // 2 % 2 == 1, rest[6 : 4 + length]))
        rest = rest[4 + length :]
    return found, bool(found)


def elements(data: bytes) -> dict[int, bytes] | None:
    """A command set's elements by element number, of a repeated one the last."""
    found = {}
    while data:
        group, number = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
        length = int.from_bytes(data[4:8], "little")
        if len(data) < 8 or group or length > len(data) - 8:
            return None
        found[number] = data[8 : 8 + length]
        data = data[8 + length :]
    return found


def _number(found: dict[int, bytes], number: int) -> int | None:
    value = found.get(number, b"")
    return value[0] | value[1] << 8 if len(value) == 2 else None


def _name(found: dict[int, bytes], *numbers: int) -> str:
    texts = [found.get(number, b"").rstrip(b"\0 ").decode("latin-1") for number in numbers]
    return next((text for text in texts if text), "")


def command(data: bytes) -> tuple[object, ...] | None:
    """Field, message id, has data set, SOP class, SOP instance, action type of a request."""
    found = elements(data)
    if found is None:
        return None
    kind = _number(found, 0x0100)
    if kind not in REQUEST_FIELDS:
        return None
    message = _number(found, 0x0120 if kind == 0x0FFF else 0x0110)
    data_set_type, action = _number(found, 0x0800), _number(found, 0x1008)
    if message is None or data_set_type is None or (action is None and 0x1008 in found):
        return None
    names = (_name(found, 0x0002, 0x0003), _name(found, 0x1000, 0x1001))
    return (kind, message, data_set_type != NO_DATA_SET, *names, action)


def response(data: bytes) -> tuple[object, ...] | None:
    """Message id, status and Error Comment of a response."""
    found = elements(data)
    kind = None if found is None else _number(found, 0x0100)
    if found is None or kind is None or kind < 0x8000:
        return None
    message, status = _number(found, 0x0120), _number(found, 0x0900)
    return None if None in (message, status) else (message, status, _name(found, 0x0902))


def stream(data: bytes, pdu_bytes_max: int) -> Iterator[tuple[int, bytes] | str]:
    """The PDUs of a connection, the first an A-ASSOCIATE-RQ; at last why it ends there:
    "lost", or the name of the A-ABORT's reason.
    """
    is_first = True
    while len(data) >= 6:
        kind, length = data[0], int.from_bytes(data[2:6], "big")
        if kind not in range(1, 8):
            yield "UNRECOGNIZED_PDU"
            return
        limit = {RQ: 262_144, AC: 262_144, P_DATA: pdu_bytes_max + 6}.get(kind, 4)
        if length > limit:
            yield "INVALID_PARAMETER"
            return
        if is_first and kind != RQ:
            yield "UNEXPECTED_PDU"
            return
        if length > len(data) - 6:
            break
        yield kind, data[6 : 6 + length]
        data, is_first = data[6 + length :], False
    yield "lost"
