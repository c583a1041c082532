"""Dead letters: every record that a consumer could not write, and the way back.

Invariant: the original key, value and headers are produced again untouched; a redriven letter
stays on its topic, marked, until Kafka's retention takes it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from contracts.topics import TOPICS
from infra.seams import ConsumedRecord, OutgoingRecord, Publisher
from infra.settings import KafkaSettings
from infra.topic_tail import read_all

PREFIX = "hilum-"
REDRIVEN = "hilum-redriven"
REDRIVE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter: one (consumer, topic, partition, offset), once."""

    consumer: str
    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    first_seen: str
    is_redriven: bool
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def letter_id(self) -> str:
        """What `dlq show` and `dlq redrive` take: consumer/topic/partition/offset."""
        return f"{self.consumer}/{self.topic}/{self.partition}/{self.offset}"

    def described(self, with_value: bool = False) -> dict[str, object]:
        """The letter for people and `--json`; bytes as base64, the value only when asked for."""
        described: dict[str, object] = {
            "id": self.letter_id,
            "consumer": self.consumer,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "reason": self.reason,
            "detail": self.detail,
            "first_seen": self.first_seen,
            "is_redriven": self.is_redriven,
            "size_bytes": len(self.value),
        }
        if with_value:
            described["key"] = b64encode(self.key).decode()
            described["headers"] = {name: v.decode("utf-8", "replace") for name, v in self.headers}
            described["value"] = b64encode(self.value).decode()
        return described


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters are meant; None means any."""

    letter_id: str | None = None
    consumer: str | None = None
    topic: str | None = None
    reason: str | None = None

    def admits(self, letter: DeadLetter) -> bool:
        """Whether a letter is meant."""
        pairs = (
            (self.letter_id, letter.letter_id),
            (self.consumer, letter.consumer),
            (self.topic, letter.topic),
            (self.reason, letter.reason),
        )
        return all(wanted is None or wanted == actual for wanted, actual in pairs)


def dead_letters(
    settings: KafkaSettings, dlq_topics: Sequence[str] | None = None
) -> list[DeadLetter]:
    """Every dead letter on the given `.dlq` topics (all of them by default), oldest first."""
    found: dict[str, DeadLetter] = {}
    redriven: set[str] = set()
    for name in dlq_topics or [topic.dlq_name for topic in TOPICS]:
        for record in read_all(settings, name):
            mark = _header(record, REDRIVEN)
            if mark is not None:
                redriven.add(mark)
                continue
            letter = _letter(record)
            found.setdefault(letter.letter_id, letter)
    return [_marked(letter, redriven) for letter in found.values()]


def redrive(publisher: Publisher, letters: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
    """Produces each original into its topic again, then marks it; yields it once acknowledged.

    A crash in between leaves it open: the record may be redriven twice, and every writer is
    idempotent. Raises RetryableError, FatalError.
    """
    for letter in letters:
        again = OutgoingRecord(letter.topic, letter.key, letter.value, letter.headers)
        publisher.publish_all([again], REDRIVE_TIMEOUT_S)
        mark = OutgoingRecord(
            f"{letter.topic}.dlq", letter.key, b"", ((REDRIVEN, letter.letter_id.encode()),)
        )
        publisher.publish_all([mark], REDRIVE_TIMEOUT_S)
        yield letter


def _letter(record: ConsumedRecord) -> DeadLetter:
    return DeadLetter(
        consumer=_header(record, f"{PREFIX}consumer") or "",
        topic=_header(record, f"{PREFIX}topic") or record.topic.removesuffix(".dlq"),
        partition=int(_header(record, f"{PREFIX}partition") or -1),
        offset=int(_header(record, f"{PREFIX}offset") or record.offset),
        reason=_header(record, f"{PREFIX}reason") or "",
        detail=_header(record, f"{PREFIX}detail") or "",
        first_seen=_header(record, f"{PREFIX}first-seen") or _iso(record.timestamp),
        is_redriven=False,
        key=record.key or b"",
        value=record.value or b"",
        headers=tuple((k, v) for k, v in record.headers if not k.startswith(PREFIX)),
    )


def _marked(letter: DeadLetter, redriven: set[str]) -> DeadLetter:
    if letter.letter_id not in redriven:
        return letter
    return replace(letter, is_redriven=True)


def _header(record: ConsumedRecord, name: str) -> str | None:
    for key, value in record.headers:
        if key == name:
            return value.decode("utf-8", "replace")
    return None


def _iso(at: datetime) -> str:
    return at.isoformat()
