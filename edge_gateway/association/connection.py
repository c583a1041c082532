"""One TCP connection, plain or TLS, read and written against the clock.

Invariant: no call outlives its deadline however slowly the peer speaks, and a stop wakes every
wait at once (no polling). Must not know what the bytes mean.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Protocol

from edge_gateway.association.limits import LINGER_BYTES_MAX

# Linux re-arms delayed acknowledgement by itself, so it is switched off before each wait for bytes,
# which also sends an ACK that is due: with a sender that has Nagle on, one delayed ACK costs 40 ms
# for each object. A read that finds bytes needs none: what is said next comes after it.
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class ConnectionLost(Exception):
    """The peer closed or reset the connection, or TLS broke."""


class DeadlinePassed(TimeoutError):
    """The peer did not say or take what was due in time."""


class Stopping(Exception):
    """The gateway is going down and nothing of this peer is under way."""


class StopSignal:
    """A descriptor that becomes readable once, for every waiter at the same time."""

    def __init__(self) -> None:
        self._read_end, self._write_end = socket.socketpair()
        self.is_set = False

    def fileno(self) -> int:
        return self._read_end.fileno()

    def set(self) -> None:
        """Wakes all waits; the byte is never read, so later ones return at once too."""
        if not self.is_set:
            self.is_set = True
            self._write_end.send(b"\0")

    def close(self) -> None:
        """Frees the descriptors; nobody may wait any more."""
        self._read_end.close()
        self._write_end.close()


class Errand(Protocol):
    """What a connection's thread also does while it waits for the peer's bytes."""

    def fileno(self) -> int:
        """Readable when there is something to do."""

    @property
    def due_s(self) -> float:
        """When there is something to do in any case; infinity for never."""

    def attend(self) -> None:
        """Does it; it may send, and must not receive."""


class Connection:
    """A non-blocking socket with deadlines (seconds of the monotonic clock).

    Used by one thread; `cut` alone may be called from another.
    """

    def __init__(self, connected: socket.socket, address: str, stop: StopSignal | None) -> None:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = address
        # None: nothing else to do while waiting.
        self.errand: Errand | None = None
        self._socket = connected
        self._stop = stop

    @property
    def is_stopping(self) -> bool:
        """Whether the gateway is going down."""
        return self._stop is not None and self._stop.is_set

    def handshake(
        self, context: ssl.SSLContext, deadline: float, server_name: str | None = None
    ) -> None:
        """Makes it TLS: as the server, or as a client of `server_name`.

        Raises ConnectionLost, DeadlinePassed, Stopping.
        """
        try:
            wrapped = context.wrap_socket(
                self._socket,
                server_side=server_name is None,
                do_handshake_on_connect=False,
                server_hostname=server_name,
            )
        except (OSError, ValueError) as cause:
            raise ConnectionLost(f"starting TLS: {type(cause).__name__}") from cause
        self._socket = wrapped
        self._until_done(wrapped.do_handshake, select.POLLIN, deadline, is_idle=True)

    def peer_certificate(self) -> bytes | None:
        """The DER bytes of the certificate that the handshake verified; None without one."""
        secured = self._socket
        return secured.getpeercert(binary_form=True) if isinstance(secured, ssl.SSLSocket) else None

    def receive_into(self, buffer: memoryview, deadline: float, is_idle: bool) -> int:
        """Reads at least one byte. Raises ConnectionLost, DeadlinePassed, Stopping (when idle)."""
        if is_idle and self.is_stopping:
            raise Stopping("gateway is stopping")
        count = self._until_done(
            lambda: self._socket.recv_into(buffer),
            select.POLLIN,
            deadline,
            is_idle,
            errand=self.errand,
        )
        if not count:
            raise ConnectionLost("peer closed the connection")
        return count

    def await_errand(self, *, is_listening: bool) -> bool:
        """Waits until the errand is due and attends to it; whether the peer spoke meanwhile.

        Without `is_listening` what the peer says is left where it is. Raises ConnectionLost where
        the connection is gone, whether it is listened to or not.
        """
        errand = self.errand
        assert errand is not None
        if is_listening and isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        poller = select.poll()
        try:
            self._acknowledge_at_once()
            poller.register(self._socket, select.POLLIN if is_listening else 0)
        except (ValueError, OSError) as cause:
            raise ConnectionLost("connection gone") from cause
        heard = self._attend_by(poller, errand, float("inf"))
        if not is_listening and heard & (select.POLLHUP | select.POLLERR):
            raise ConnectionLost("connection gone")
        return bool(heard)

    def send(self, data: bytes | bytearray, deadline: float) -> None:
        """Hands every byte to the kernel, in one write where it takes them."""
        rest = memoryview(data)
        while rest:
            view = rest
            sent = self._until_done(
                lambda view=view: self._socket.send(view),  # type: ignore[misc]
                select.POLLOUT,
                deadline,
                is_idle=False,
            )
            rest = rest[sent:]

    def pause(self, seconds: float) -> None:
        """Lets others have the processor; nothing may be under way. Raises Stopping at once."""
        if self._stop is None:
            time.sleep(seconds)
            return
        poller = select.poll()
        poller.register(self._stop, select.POLLIN)
        if poller.poll(seconds * 1000):
            raise Stopping("gateway is stopping")

    def close_after_answer(self, deadline: float) -> None:
        """Closes so that the peer can read what we said last.

        A close with unread bytes resets the connection and our answer with it (RFC 1122
        4.2.2.13): so what comes is dropped, within a limit, until the peer closes.
        """
        dropped = 0
        scrap = memoryview(bytearray(4096))
        try:
            # The base class's: an SSLSocket's own would forget TLS and then read raw records.
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
            while dropped < LINGER_BYTES_MAX:
                dropped += self.receive_into(scrap, deadline, is_idle=True)
        except (OSError, ConnectionLost, DeadlinePassed, Stopping):
            pass
        self.close()

    def cut(self) -> None:
        """Ends the connection under its thread, which then sees ConnectionLost."""
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            return  # already gone

    def close(self) -> None:
        """Frees the descriptor."""
        self._socket.close()

    def _until_done(
        self,
        attempt: Callable[[], int | None],
        events: int,
        deadline: float,
        is_idle: bool,
        errand: Errand | None = None,
    ) -> int:
        while True:
            try:
                return attempt() or 0
            except (BlockingIOError, InterruptedError):
                wanted = events
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            except (OSError, ValueError) as cause:
                raise ConnectionLost(f"connection broke: {_fault(cause)}") from cause
            self._wait(wanted, deadline, is_idle, errand)

    def _acknowledge_at_once(self) -> None:
        if _QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _attend_by(self, poller: select.poll, errand: Errand, deadline: float) -> int:
        """What the socket of `poller` has to say, by `deadline`; the errand is attended to."""
        poller.register(errand, select.POLLIN)
        until_s = min(deadline, errand.due_s)
        remaining_s = max(0.0, until_s - time.monotonic())
        ready = dict(poller.poll(None if remaining_s == float("inf") else remaining_s * 1000))
        if errand.fileno() in ready or time.monotonic() >= errand.due_s:
            errand.attend()
        return ready.get(self._socket.fileno(), 0)

    def _wait(self, events: int, deadline: float, is_idle: bool, errand: Errand | None) -> None:
        poller = select.poll()
        try:
            if events == select.POLLIN:
                self._acknowledge_at_once()
            poller.register(self._socket, events)
        except (ValueError, OSError) as cause:
            raise ConnectionLost("connection gone") from cause
        if errand is not None and not is_idle:
            while not self._attend_by(poller, errand, deadline):
                if time.monotonic() >= deadline:
                    raise DeadlinePassed("peer did not speak in time")
            return
        stop = self._stop if is_idle else None
        if stop is not None:
            poller.register(stop, select.POLLIN)
        remaining_s = deadline - time.monotonic()
        ready = poller.poll(remaining_s * 1000) if remaining_s > 0 else []
        if not ready:
            raise DeadlinePassed("peer did not speak in time")
        if stop is not None and any(descriptor == stop.fileno() for descriptor, _ in ready):
            raise Stopping("gateway is stopping")


def _fault(cause: Exception) -> str:
    """What broke: OpenSSL's word for it where there is one, never what the peer sent."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"peer's certificate: {cause.verify_message}"
    reason = getattr(cause, "reason", None) if isinstance(cause, ssl.SSLError) else None
    return f"TLS {reason}" if reason else type(cause).__name__
