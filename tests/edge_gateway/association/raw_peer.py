"""A DICOM peer made of raw bytes, so that it can break every rule; none of our own encoders."""

from __future__ import annotations

import socket
import struct
from types import TracebackType

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
RQ, AC, RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def context(identifier: int, abstract: str = CT, syntaxes: tuple[str, ...] = (IMPLICIT,)) -> bytes:
    inside = item(0x30, abstract.encode()) + b"".join(item(0x40, s.encode()) for s in syntaxes)
    return item(0x20, bytes((identifier, 0, 0, 0)) + inside)


def user_information(max_length: int = 16384, more: bytes = b"") -> bytes:
    return item(0x50, item(0x51, struct.pack(">I", max_length)) + item(0x52, b"1.2.3.4") + more)


def associate_body(
    called: bytes = b"NORTH",
    calling: bytes = b"RAW",
    contexts: bytes | None = None,
    user: bytes | None = None,
    version: int = 1,
) -> bytes:
    return (
        struct.pack(">HH", version, 0)
        + called.ljust(16)[:16]
        + calling.ljust(16)[:16]
        + bytes(32)
        + item(0x10, b"1.2.840.10008.3.1.1.1")
        + (context(1) if contexts is None else contexts)
        + (user_information() if user is None else user)
    )


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(body)) + body


def pdv(context_id: int, control: int, data: bytes) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def element(number: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHI", group, number, len(value)) + value


def even(text: bytes) -> bytes:
    return text + b"\0" * (len(text) % 2)


def store_command(
    instance: bytes | None = b"1.2.3.4.5", sop_class: bytes | None = CT.encode(), field: int = 1
) -> bytes:
    body = b"" if sop_class is None else element(0x0002, even(sop_class))
    body += element(0x0100, struct.pack("<H", field)) + element(0x0110, b"\x07\x00")
    body += element(0x0700, b"\0\0") + element(0x0800, b"\x01\x00")
    body += b"" if instance is None else element(0x1000, even(instance))
    return element(0, struct.pack("<I", len(body))) + body


def data_set(instance: bytes = b"1.2.3.4.5", padding: int = 0) -> bytes:
    """An implicit VR data set of a CT, with `padding` bytes of pixel data."""
    body = element(0x0016, even(CT.encode()), 8) + element(0x0018, even(instance), 8)
    body += element(0x000D, even(b"1.2.3"), 0x20)
    return body + (element(0x0010, bytes(padding), 0x7FE0) if padding else b"")


class RawPeer:
    """A TCP connection to a gateway. Reads have a deadline; a closed one reads as b''."""

    def __init__(self, port: int, timeout_s: float = 15.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def associate(self, **fields: object) -> tuple[int, bytes]:
        self.send(pdu(RQ, associate_body(**fields)))  # type: ignore[arg-type]
        return self.read_pdu()

    def store(self, command: bytes, data: bytes) -> int:
        """The status of a C-STORE; the data set goes in fragments of 100 kB."""
        stream = pdu(P_DATA, pdv(1, 3, command))
        for start in range(0, max(1, len(data)), 100_000):
            is_last = start + 100_000 >= len(data)
            stream += pdu(P_DATA, pdv(1, 2 * is_last, data[start : start + 100_000]))
        self.send(stream)
        return self.read_status()

    def read_status(self) -> int:
        kind, body = self.read_pdu()
        assert kind == P_DATA, (kind, body)
        position = body.index(struct.pack("<HHI", 0, 0x0900, 2)) + 8
        return int.from_bytes(body[position : position + 2], "little")

    def read_pdu(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; (0, b'') when the connection is over."""
        head = self._read(6)
        if len(head) < 6:
            return 0, b""
        return head[0], self._read(int.from_bytes(head[2:6], "big"))

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except ConnectionResetError:
                return data
            if not piece:
                return data
            data += piece
        return data


def good_store(port: int) -> None:
    """A sender that keeps the rules is answered 0000."""
    with RawPeer(port) as good:
        assert good.associate()[0] == AC
        assert good.store(store_command(), data_set()) == 0
        good.send(pdu(RELEASE_RQ, bytes(4)))
        assert good.read_pdu() == (RELEASE_RP, bytes(4))


def ended_with_abort(peer: RawPeer, reason: int) -> None:
    kind, body = peer.read_pdu()
    assert (kind, body) == (ABORT, bytes((0, 0, 2, reason)))
    assert peer.read_pdu() == (0, b"")
