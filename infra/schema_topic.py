"""The schemas of newer writers, over Kafka itself: told before their first record, looked up.

Invariant: whoever writes with a schema that the first version of Hilum did not have has told it,
acknowledged, before the first record that needs it. Reading needs no registry, and a cluster that
lacks the topic just knows no newer schemas. It must not decide what becomes of a record.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from contracts import codec
from contracts.events import Event, SchemaPublished
from contracts.failures import PoisonError
from contracts.schema_catalog import learn, newest, published
from contracts.topics import SCHEMA
from infra.settings import KafkaSettings
from infra.telemetry import logger

# A record without a schema anywhere is asked for again after this long: it may be told late by a
# person who redrives it, and a stream of such records must not become a stream of questions.
ASK_AGAIN_S = 30.0
_ASKED_MAX = 1_024
_LOG = logger("schemas")


class SchemaLookup:
    """Learns what records need and this version does not have. Safe from any thread."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._lock = threading.Lock()
        self._asked: dict[int, float] = {}

    def learn_for(self, values: Iterable[bytes | None]) -> None:
        """On return the schemas of these records are known, where anybody told them.

        Raises RetryableError, FatalError (Kafka cannot be asked now).
        """
        unknown = {number for value in values if (number := codec.unknown_schema(value))}
        if not unknown:
            return
        with self._lock:
            now = time.monotonic()
            if any(
                now - self._asked.get(number, -ASK_AGAIN_S) >= ASK_AGAIN_S for number in unknown
            ):
                self._learn_all()
                if len(self._asked) > _ASKED_MAX:
                    self._asked.clear()
                self._asked.update(dict.fromkeys(unknown, now))

    def _learn_all(self) -> None:
        # Not above: reading topics is what asks for schemas.
        from infra.cluster_view import ClusterView
        from infra.topic_tail import read_all

        view = ClusterView(self._kafka)
        try:
            if view.topic_id(SCHEMA.name) is None:
                return
        finally:
            view.close()
        for record in read_all(self._kafka, SCHEMA.name):
            try:
                told = codec.decode(record.value or b"", SchemaPublished)
            except PoisonError:
                continue
            if learn(told):
                _LOG.info("schema learned", of=told.event, version=told.version)


class SchemaTeller:
    """Tells the schema of an event before its first record. Safe from any thread."""

    def __init__(self, publish: Callable[[SchemaPublished], None]) -> None:
        """`publish` returns once the record is acknowledged."""
        self._publish = publish
        # The first version of each event is known to every reader there ever was.
        self._told: set[type[Event]] = set()

    def tell(self, event_type: type[Event]) -> None:
        """On return readers can find the newest schema. Raises RetryableError, FatalError."""
        if event_type in self._told:
            return
        version = newest(event_type)
        if version.version > 1:
            self._publish(published(version))
        self._told.add(event_type)
