"""Answers the receive process's questions for levels from the ledger; part of the main loop.

Invariant: an answer is what the ledger holds at that moment; where the topics keep one copy, level
`kafka` is never confirmed. A step never waits. Must not change the ledger.
"""

from __future__ import annotations

import sqlite3

from edge_gateway.forward_health import ForwardHealth
from edge_gateway.levels import Level, Question, Standing, is_reached
from edge_gateway.progress_rows import DeliveryState
from edge_gateway.question_desk import QuestionDesk
from infra.clock import Clock
from infra.telemetry import logger

_LOG = logger("levels")


class LevelDesk(QuestionDesk):
    """The desk of the forward process, beside its ledger."""

    def __init__(self, connection: sqlite3.Connection, health: ForwardHealth, clock: Clock) -> None:
        super().__init__(clock)
        self._ledger = connection
        self._health = health
        # Until Kafka was asked, nothing is known of its copies.
        self._too_few_copies = "not asked yet"

    def note_copies(self, too_few: str) -> None:
        """What is wrong with the copies that Kafka keeps; '' where they carry level `kafka`."""
        self._too_few_copies = too_few
        self.look_again()
        if too_few:
            _LOG.error("level 'kafka' is refused", reason=too_few)
            self._health.impede("levels", f"level 'kafka' is refused: {too_few}")
        else:
            self._health.clear("levels")

    def changes(self) -> int:
        """The ledger's count of changed rows."""
        return self._ledger.total_changes

    def is_reached(self, question: Question) -> bool:
        """Whether the ledger's state is the level's; never for `kafka` with too few copies."""
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
