"""Answers the receive process's questions for level `mirror` from what the follower has copied.

Invariant: only what the follower holds, flushed, is confirmed. Must not copy.
"""

from __future__ import annotations

from edge_gateway.levels import Level, Question
from edge_gateway.mirror.follower import Follower
from edge_gateway.question_desk import QuestionDesk
from infra.clock import Clock


class MirrorDesk(QuestionDesk):
    """The desk of the mirror process, beside its follower."""

    def __init__(self, follower: Follower, clock: Clock) -> None:
        super().__init__(clock)
        self._follower = follower

    def changes(self) -> int:
        """How many records were copied."""
        return self._follower.records

    def is_reached(self, question: Question) -> bool:
        """Whether this delivery is flushed in the mirror."""
        return question.level is Level.MIRROR and self._follower.holds(
            question.delivery_id, question.content_sha256
        )
