"""The C-STOREs of one association whose answers are not out yet (PS3.7 D.3.3.3).

Invariant: never more than the window; each is answered once, under its own message id, when it is
decided and not before. Used by the association's thread, which the bell calls: it alone writes to
the peer. Must not read.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_gateway.association.command_set import Command
from edge_gateway.association.pdu import InvalidPdu
from edge_gateway.bell import Bell
from edge_gateway.store_intake import StoreIntake
from edge_gateway.store_request import Answer


@dataclass(frozen=True, slots=True)
class Operation:
    """A C-STORE whose data set is whole."""

    context_id: int
    command: Command
    store: StoreIntake


class Outstanding:
    """At most `window` operations; `respond` is given the answers that go out together."""

    def __init__(
        self, window: int, respond: Callable[[Sequence[tuple[Operation, Answer]]], None]
    ) -> None:
        self._window = window
        self._respond = respond
        self._bell = Bell()
        self._operations: dict[int, Operation] = {}

    def __len__(self) -> int:
        return len(self._operations)

    def fileno(self) -> int:
        """Readable when `attend` has something to do."""
        return self._bell.fileno()

    @property
    def is_called(self) -> bool:
        """Whether `attend` has something to do now; costs nothing."""
        return self._bell.is_rung

    @property
    def due_s(self) -> float:
        """When `attend` has something to do though nobody rang (monotonic clock)."""
        dues = (operation.store.due_s for operation in self._operations.values())
        return min(dues, default=float("inf"))

    @property
    def is_full(self) -> bool:
        """Whether the next operation has to wait for an answer to one of these."""
        return len(self._operations) >= self._window

    def require_new(self, message_id: int) -> None:
        """Raises InvalidPdu where the id is one of an operation that is open.

        The status for it (0210H) would come under an id that stands for two: a peer that takes
        answers in their order would believe that the other one is stored.
        """
        if message_id in self._operations:
            raise InvalidPdu("message id of an operation that is open")

    def add(self, operation: Operation) -> None:
        """Takes an operation over; there must be room."""
        assert not self.is_full
        self._operations[operation.command.message_id] = operation
        operation.store.submit(self._bell.ring)
        # One that is refused already rings for itself.
        if operation.store.due_s <= 0:
            self._bell.ring()

    def attend(self) -> None:
        """Answers what is decided. Raises what `respond` raises; an answer is not given again."""
        self._bell.hear()
        if decided := self._take_decided():
            self._respond(decided)

    def abandon(self) -> None:
        """Returns when all are decided and noted; the peer hears nothing of it any more.

        What is on its way to the disk cannot be called back: it has its receipt like any other.
        """
        for operation in self._operations.values():
            operation.store.abandon()
        poller = select.poll()
        poller.register(self._bell, select.POLLIN)
        while self._operations:
            self._bell.hear()
            if not self._take_decided():
                poller.poll(max(0.0, self.due_s - time.monotonic()) * 1000 + 1)
        self._bell.close()

    def _take_decided(self) -> list[tuple[Operation, Answer]]:
        decided: list[tuple[Operation, Answer]] = []
        for message_id, operation in list(self._operations.items()):
            answer = operation.store.decided()
            if answer is not None:
                del self._operations[message_id]
                decided.append((operation, answer))
        return decided
