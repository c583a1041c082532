"""The ids of the topics that a group reads: whether a topic is there, and still the same one.

Invariant: a topic that was made anew is told apart from the one before it, whose offsets mean
nothing any more (KIP-516). Must not decide where to go on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from contracts.failures import FatalError, RetryableError
from infra.cluster_view import ClusterView
from infra.settings import KafkaSettings

# A topic that was made a moment ago has no leader yet and is not described.
MISSING_S_MAX = 10.0


class TopicIds:
    """The ids of some topics (plain names), as of the last `look_up`."""

    def __init__(self, kafka: KafkaSettings, topics: Sequence[str]) -> None:
        self._prefix = kafka.topic_prefix
        self._topics = tuple(topics)
        self._view = ClusterView(kafka)
        self._ids: dict[str, str] = {}
        self._missing_since: float | None = None

    def look_up(self) -> bool:
        """Asks for all ids; True if one is another than before.

        Raises RetryableError (also while a topic is missing for MISSING_S_MAX), FatalError.
        """
        found = {topic: self._ask(topic) for topic in self._topics}
        self._missing_since = None
        is_changed = any(self._ids.get(topic, new) != new for topic, new in found.items())
        self._ids = found
        return is_changed

    def of(self, topic: str) -> str:
        """The id of a topic that was looked up."""
        return self._ids[topic]

    def close(self) -> None:
        """Releases the connection; the ids stay known."""
        self._view.close()

    def _ask(self, topic: str) -> str:
        try:
            topic_id = self._view.topic_id(topic)
        except RetryableError:
            self._missing_since = None  # a cluster that restarts is not one without the topic
            raise
        if topic_id is not None:
            return topic_id
        now = time.monotonic()
        self._missing_since = since = self._missing_since or now
        text = f"reading {self._prefix + topic}: there is no such topic"
        if now - since < MISSING_S_MAX:
            raise RetryableError(text)
        raise FatalError(
            text, "provision the topics (`hilum up` does it), then start the consumer again"
        )
