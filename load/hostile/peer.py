"""What a hostile peer is: a key, a title, and ways to behave on connections of a bounded visit.

Invariant: every connection of a visit is closed when the visit ends, however it ends, and no
visit outlasts its deadline by more than one socket time-out.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from load.hostile.raw_peer import RawPeer

# A gateway that is well answers far sooner; one that does not is left and counted.
ANSWER_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Door:
    """The port that is visited, on loopback, and how to come in by TLS where it wants that."""

    port: int
    called_ae_title: str = "NORTH"
    tls: ssl.SSLContext | None = None
    answer_timeout_s: float = ANSWER_TIMEOUT_S


@dataclass(slots=True)
class Visit:
    """The room of one act: connections to one door until `deadline` (monotonic) or `leave()`.

    `generator` decides what is random, so a seed repeats it. Used by one thread; `leave` by any.
    """

    door: Door
    deadline: float
    generator: random.Random
    _left: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _peers: list[RawPeer] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether to go: told to leave, or out of time."""
        return self._left.is_set() or time.monotonic() >= self.deadline

    def pause(self, seconds: float) -> bool:
        """Waits, at most to the end of the visit; True where there is time to go on."""
        self._left.wait(max(0.0, min(seconds, self.deadline - time.monotonic())))
        return not self.is_over

    def connect(self, is_wrapped: bool = True) -> RawPeer:
        """A new connection, closed with the visit; without TLS where not `is_wrapped`.

        Raises OSError (refused, no handshake, the visit is over).
        """
        if self.is_over:
            raise TimeoutError("the visit is over")
        tls = self.door.tls if is_wrapped else None
        door = self.door
        peer = RawPeer(door.port, door.answer_timeout_s, tls, door.called_ae_title.encode())
        with self._lock:
            if not self._left.is_set():
                self._peers.append(peer)
                return peer
        peer.socket.close()
        raise TimeoutError("left while connecting")

    @contextmanager
    def connected(self, is_wrapped: bool = True) -> Iterator[RawPeer]:
        """One connection, closed at the end of the block."""
        peer = self.connect(is_wrapped)
        try:
            yield peer
        finally:
            self.close(peer)

    def close(self, peer: RawPeer) -> None:
        """Ends one connection before the visit is over."""
        with self._lock, contextlib.suppress(ValueError):
            self._peers.remove(peer)
        peer.socket.close()

    def leave(self) -> None:
        """Ends the visit from any thread: pauses return, blocked reads and writes fail."""
        self._left.set()
        with self._lock:
            for peer in self._peers:
                with contextlib.suppress(OSError):
                    # On the socket below TLS: a shutdown of the wrapped one is no thread-safe call.
                    socket.socket.shutdown(peer.socket, socket.SHUT_RDWR)

    def close_all(self) -> None:
        """Closes what is still open."""
        self.leave()
        with self._lock:
            for peer in self._peers:
                peer.socket.close()
            self._peers.clear()


# One turn of a hostile peer. Raises OSError where the gateway cuts it off, which is its right.
Act: TypeAlias = Callable[[Visit], None]


@dataclass(frozen=True, slots=True)
class HostilePeer:
    """One line of the list: what it is called there, and the acts that it takes in turn.

    `settle_s` is how long it takes to become what it is, before a sample beside it may begin.
    `threads` act at a time, each at most `turns_per_s_max` times a second: what is measured is
    what such a peer does to others, not who gets the cores of one machine.
    """

    key: str
    title: str
    acts: tuple[Act, ...]
    threads: int = 4
    turns_per_s_max: float = 25.0
    settle_s: float = 0.0
    is_about_tls: bool = False


def take_turn(peer: HostilePeer, turn: int, visit: Visit) -> str:
    """Behaves once, by act number `turn` round robin; returns the fault that ended it, or ''.

    The visit's connections are closed on return.
    """
    try:
        peer.acts[turn % len(peer.acts)](visit)
    except OSError as fault:
        return type(fault).__name__
    finally:
        visit.close_all()
    return ""
