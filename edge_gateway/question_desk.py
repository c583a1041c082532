"""Takes questions for levels over a socket and answers what its owner knows to be reached.

Invariant: an answer goes out only where `is_reached` says so at that moment, and only while the
question's own time lasts. A step never waits. Must not know what reaches a level.
"""

from __future__ import annotations

import selectors
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from edge_gateway.levels import (
    CONNECTIONS_MAX,
    MESSAGE_BYTES_MAX,
    QUESTIONS_OPEN_MAX,
    SOCKET_NAME,
    Question,
    decode_question,
    listen,
)
from infra.clock import Clock
from infra.telemetry import logger

MESSAGES_PER_STEP = 256
_LOG = logger("levels")


@dataclass(frozen=True, slots=True)
class _Open:
    question: Question
    until: float
    connection: socket.socket


class QuestionDesk(ABC):
    """Listens in the spool's directory from `open` to `close`. Used by one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._listening: socket.socket | None = None
        self._open: dict[str, _Open] = {}
        # `changes` when all were answered from what was known; None: look again.
        self._answered_at_change: int | None = None

    @abstractmethod
    def is_reached(self, question: Question) -> bool:
        """Whether the level asked for is reached, as of now."""

    @abstractmethod
    def changes(self) -> int:
        """A number that is another one once `is_reached` may say something else."""

    def open(self, directory: Path, socket_name: str = SOCKET_NAME) -> None:
        """Takes questions from now on. Raises OSError."""
        self._listening = listen(directory, socket_name)
        self._selector.register(self._listening, selectors.EVENT_READ)

    def close(self) -> None:
        """Ends every connection: whoever waits still asks the next process."""
        for key in list(self._selector.get_map().values()):
            self._drop(key.fileobj)
        self._selector.close()

    @property
    def is_asked(self) -> bool:
        """Whether a question is open."""
        return bool(self._open)

    def look_again(self) -> None:
        """The next step asks `is_reached` for every open question."""
        self._answered_at_change = None

    def wait(self, timeout_s: float) -> None:
        """Returns when somebody asks, at the latest after `timeout_s`."""
        self._selector.select(timeout_s)

    def step(self) -> bool:
        """Takes questions and answers what can be answered; whether anything moved."""
        moved = False
        for key, _ in self._selector.select(0):
            moved = True
            if key.fileobj is self._listening:
                self._accept()
            else:
                self._take(key.fileobj)
        return self._answer() or moved

    def _accept(self) -> None:
        assert self._listening is not None
        try:
            connection, _ = self._listening.accept()
        except OSError as cause:
            _LOG.warning("taking a connection failed", reason=str(cause))
            return
        if len(self._selector.get_map()) > CONNECTIONS_MAX:
            connection.close()
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ)

    def _take(self, connection: object) -> None:
        assert isinstance(connection, socket.socket)
        for _ in range(MESSAGES_PER_STEP):
            try:
                message = connection.recv(MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            question = decode_question(message)
            if question is None or len(self._open) >= QUESTIONS_OPEN_MAX:
                self._drop(connection)
                return
            until = self._clock.monotonic() + question.within_ms / 1000
            self._open[question.delivery_id] = _Open(question, until, connection)
            self.look_again()

    def _answer(self) -> bool:
        now, changes = self._clock.monotonic(), self.changes()
        has_news = changes != self._answered_at_change
        self._answered_at_change = changes
        moved = False
        for delivery_id, waiting in list(self._open.items()):
            if now >= waiting.until:
                self._open.pop(delivery_id, None)
            elif has_news and self.is_reached(waiting.question):
                self._open.pop(delivery_id, None)
                moved = True
                try:
                    waiting.connection.send(delivery_id.encode())
                except OSError:
                    self._drop(waiting.connection)
        return moved

    def _drop(self, connection: object) -> None:
        assert isinstance(connection, socket.socket)
        if connection.fileno() < 0:
            return
        self._selector.unregister(connection)
        connection.close()
        self._open = {
            delivery_id: waiting
            for delivery_id, waiting in self._open.items()
            if waiting.connection is not connection
        }
