"""A DICOM peer made of raw bytes, so that it can break every rule; none of our own encoders.

Invariant: what it is given goes out unchanged, and every read and write has a deadline. It must
not import the product's protocol code: a fault there would be repeated here.
"""

from __future__ import annotations

import socket
import ssl
import struct
from types import TracebackType

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
RQ, AC, RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
FRAGMENT_BYTES = 100_000
# The answer to a peer is short; one that announces more is not read to its end.
PDU_BYTES_MAX = 1024 * 1024


class UnexpectedAnswer(ConnectionError):
    """The other side said something else than a C-STORE-RSP."""


def item(kind: int, value: bytes) -> bytes:
    """An item of an A-ASSOCIATE PDU (PS3.8 9.3.2)."""
    return struct.pack(">BBH", kind, 0, len(value)) + value


def context(identifier: int, abstract: str = CT, syntaxes: tuple[str, ...] = (IMPLICIT,)) -> bytes:
    """A presentation context item with its sub-items (PS3.8 9.3.2.2)."""
    inside = item(0x30, abstract.encode()) + b"".join(item(0x40, s.encode()) for s in syntaxes)
    return item(0x20, bytes((identifier, 0, 0, 0)) + inside)


def user_information(max_length: int = 16384, more: bytes = b"") -> bytes:
    """The user information item, with `more` sub-items behind the usual ones."""
    return item(0x50, item(0x51, struct.pack(">I", max_length)) + item(0x52, b"1.2.3.4") + more)


def associate_body(
    called: bytes = b"NORTH",
    calling: bytes = b"RAW",
    contexts: bytes | None = None,
    user: bytes | None = None,
    version: int = 1,
) -> bytes:
    """What follows the header of an A-ASSOCIATE-RQ or -AC (PS3.8 9.3.2)."""
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
    """A PDU whose length is true."""
    return struct.pack(">BBI", kind, 0, len(body)) + body


def pdv(context_id: int, control: int, data: bytes) -> bytes:
    """A PDV item; control bit 0 is "command", bit 1 "last fragment" (PS3.8 E.2)."""
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def element(number: int, value: bytes, group: int = 0) -> bytes:
    """An element in implicit VR little endian."""
    return struct.pack("<HHI", group, number, len(value)) + value


def even(text: bytes) -> bytes:
    """A UID value padded as PS3.5 9.1 wants it."""
    return text + b"\0" * (len(text) % 2)


def store_command(
    instance: bytes | None = b"1.2.3.4.5",
    sop_class: bytes | None = CT.encode(),
    field: int = 1,
    message_id: int = 7,
) -> bytes:
    """A C-STORE-RQ command set (PS3.7 9.3.1), or another operation by `field`."""
    body = b"" if sop_class is None else element(0x0002, even(sop_class))
    body += element(0x0100, struct.pack("<H", field))
    body += element(0x0110, struct.pack("<H", message_id))
    body += element(0x0700, b"\0\0") + element(0x0800, b"\x01\x00")
    body += b"" if instance is None else element(0x1000, even(instance))
    return element(0, struct.pack("<I", len(body))) + body


def data_set(
    instance: bytes = b"1.2.3.4.5", padding: int = 0, sop_class: bytes = CT.encode()
) -> bytes:
    """An implicit VR data set, of a CT by default, with `padding` bytes of pixel data."""
    body = element(0x0016, even(sop_class), 8) + element(0x0018, even(instance), 8)
    body += element(0x000D, even(b"1.2.3"), 0x20)
    return body + (element(0x0010, bytes(padding), 0x7FE0) if padding else b"")


def message(command: bytes, data: bytes) -> bytes:
    """A whole message on context 1; the data set goes in fragments of 100 kB."""
    stream = pdu(P_DATA, pdv(1, 3, command))
    for start in range(0, max(1, len(data)), FRAGMENT_BYTES):
        is_last = start + FRAGMENT_BYTES >= len(data)
        stream += pdu(P_DATA, pdv(1, 2 * is_last, data[start : start + FRAGMENT_BYTES]))
    return stream


class RawPeer:
    """A TCP connection, with TLS where a context is given; a closed one reads as b''.

    Raises OSError where the connection cannot be made or a deadline passes.
    """

    def __init__(
        self,
        port: int,
        timeout_s: float = 120.0,
        tls: ssl.SSLContext | None = None,
        called: bytes = b"NORTH",
    ) -> None:
        self._called = called
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        if tls is not None:
            try:
                self.socket = tls.wrap_socket(self.socket, server_hostname="127.0.0.1")
            except OSError:
                self.socket.close()
                raise

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
        """All of `data`, as it is."""
        self.socket.sendall(data)

    def associate(self, **fields: object) -> tuple[int, bytes]:
        """Sends an A-ASSOCIATE-RQ of `associate_body(**fields)`; type and body of the answer."""
        wanted = {"called": self._called} | fields
        self.send(pdu(RQ, associate_body(**wanted)))  # type: ignore[arg-type]
        return self.read_pdu()

    def store(self, command: bytes, data: bytes) -> int:
        """The status of a C-STORE, or of what else `command` asks for."""
        self.send(message(command, data))
        return self.read_status()

    def read_status(self) -> int:
        """The status in the next PDU. Raises UnexpectedAnswer where there is none."""
        kind, body = self.read_pdu()
        position = body.find(struct.pack("<HHI", 0, 0x0900, 2)) + 8
        if kind != P_DATA or position < 8:
            raise UnexpectedAnswer(f"PDU type {kind} of {len(body)} bytes")
        return int.from_bytes(body[position : position + 2], "little")

    def read_pdu(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; (0, b'') when the connection is over."""
        head = self._read(6)
        if len(head) < 6:
            return 0, b""
        return head[0], self._read(min(PDU_BYTES_MAX, int.from_bytes(head[2:6], "big")))

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except (ConnectionResetError, ssl.SSLEOFError):
                return data
            if not piece:
                return data
            data += piece
        return data
