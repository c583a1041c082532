"""Answers the receive process's questions for levels from the ledger; part of the main loop.

Invariant: an answer is what the ledger holds at that moment; where the topics keep one copy, level
`kafka` is never confirmed. A step never waits. Must not change the ledger.
"""

from __future__ import annotations

import selectors
import socket
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from edge_gateway.forward_health import ForwardHealth
from edge_gateway.levels import (
    CONNECTIONS_MAX,
    MESSAGE_BYTES_MAX,
    QUESTIONS_OPEN_MAX,
    Level,
    Question,
    Standing,
    decode_question,
    is_reached,
    listen,
)
from edge_gateway.progress_rows import DeliveryState
from infra.clock import Clock
from infra.telemetry import logger

MESSAGES_PER_STEP = 256
_LOG = logger("levels")


@dataclass(frozen=True, slots=True)
class _Open:
    question: Question
    until: float
    connection: socket.socket


class LevelDesk:
    """Listens in the spool's directory from `open` to `close`. Used by one thread."""

    def __init__(self, connection: sqlite3.Connection, health: ForwardHealth, clock: Clock) -> None:
        self._ledger = connection
        self._health = health
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._listening: socket.socket | None = None
        self._open: dict[str, _Open] = {}
        # The ledger's count of changed rows when all were answered from it; None: look again.
        self._answered_at_change: int | None = None
        # Until Kafka was asked, nothing is known of its copies.
        self._too_few_copies = "not asked yet"

    def open(self, directory: Path) -> None:
        """Takes questions from now on. Raises OSError."""
        self._listening = listen(directory)
        self._selector.register(self._listening, selectors.EVENT_READ)

    def close(self) -> None:
        """Ends every connection: whoever waits still asks the next process."""
        for key in list(self._selector.get_map().values()):
            self._drop(key.fileobj)
        self._selector.close()

    def note_copies(self, too_few: str) -> None:
        """What is wrong with the copies that Kafka keeps; '' where they carry level `kafka`."""
        self._too_few_copies = too_few
        self._answered_at_change = None
        if too_few:
            _LOG.error("level 'kafka' is refused", reason=too_few)
            self._health.impede("levels", f"level 'kafka' is refused: {too_few}")
        else:
            self._health.clear("levels")

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
            self._answered_at_change = None

    def _answer(self) -> bool:
        now, changes = self._clock.monotonic(), self._ledger.total_changes
        has_news = changes != self._answered_at_change
        self._answered_at_change = changes
        moved = False
        for delivery_id, waiting in list(self._open.items()):
            if now >= waiting.until:
                self._open.pop(delivery_id, None)
            elif has_news and self._is_reached(waiting.question):
                self._open.pop(delivery_id, None)
                moved = True
                try:
                    waiting.connection.send(delivery_id.encode())
                except OSError:
                    self._drop(waiting.connection)
        return moved

    def _is_reached(self, question: Question) -> bool:
        if question.level is Level.KAFKA and self._too_few_copies:
            return False
        row = self._ledger.execute(
            "SELECT content_sha256, state, archived_at IS NOT NULL FROM delivery"
            " WHERE delivery_id = ?",
            (question.delivery_id,),
        ).fetchone()
        if row is None:
            return False
        return is_reached(question, Standing(str(row[0]), DeliveryState(row[1]), bool(row[2])))

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
