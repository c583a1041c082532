"""The connections that have no association: not yet, or not any more.

Invariant: never more than the limits; when full the oldest goes, so a peer that speaks always
gets in however many silent ones there are.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

from edge_gateway.association.connection import Connection


class Waiting(Protocol):
    """A connection that has no association, here or in another process."""

    @property
    def address(self) -> str:
        """Where it comes from."""

    def cut(self) -> None:
        """Ends it under whoever serves it."""


class Room(Protocol):
    """Where a connection without an association is counted."""

    def enter(self, connection: Connection) -> None:
        """It has no association any more."""

    def leave(self, connection: Connection) -> None:
        """It has one now, or is gone."""


class WaitingRoom:
    """Holds connections in the order of their coming; safe from any thread."""

    def __init__(self, places_max: int, places_per_address_max: int) -> None:
        self._places_max = places_max
        self._places_per_address_max = places_per_address_max
        self._lock = threading.Lock()
        self._waiting: OrderedDict[int, Waiting] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, connection: Waiting) -> None:
        """Takes a connection in; cuts the oldest of its address, or of all, where it is full."""
        with self._lock:
            neighbours = [
                key for key, other in self._waiting.items() if other.address == connection.address
            ]
            leaving: list[Waiting] = []
            if len(neighbours) >= self._places_per_address_max:
                leaving.append(self._waiting.pop(neighbours[0]))
            elif len(self._waiting) >= self._places_max:
                leaving.append(self._waiting.popitem(last=False)[1])
            self._waiting[id(connection)] = connection
            # Inside the lock: its thread closes the descriptor only after `leave`.
            for oldest in leaving:
                oldest.cut()

    def evict_oldest(self) -> None:
        """Makes room when the process has no descriptor left."""
        with self._lock:
            if self._waiting:
                self._waiting.popitem(last=False)[1].cut()

    def leave(self, connection: Waiting) -> None:
        """Lets a connection go; it may have been evicted before."""
        with self._lock:
            self._waiting.pop(id(connection), None)
