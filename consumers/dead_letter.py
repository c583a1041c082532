"""Dead letters: records that can never be written, kept whole where a person finds them.

Invariant: key, value and headers of the original are repeated byte for byte, and nothing is
committed before the broker has acknowledged them. A dead letter is known by (consumer, topic,
partition, offset), so that the same one produced twice is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from contracts.envelope import Headers
from contracts.failures import Reason
from contracts.topics import BY_NAME
from infra.seams import ConsumedRecord, OutgoingRecord, Publisher

CONSUMER_HEADER = "hilum-consumer"
REASON_HEADER = "hilum-reason"
DETAIL_HEADER = "hilum-detail"
TOPIC_HEADER = "hilum-topic"
PARTITION_HEADER = "hilum-partition"
OFFSET_HEADER = "hilum-offset"
FIRST_SEEN_HEADER = "hilum-first-seen"

HILUM_HEADERS = (
    CONSUMER_HEADER,
    REASON_HEADER,
    DETAIL_HEADER,
    TOPIC_HEADER,
    PARTITION_HEADER,
    OFFSET_HEADER,
    FIRST_SEEN_HEADER,
)
DETAIL_BYTES_MAX = 512
ACKNOWLEDGE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused record with the reason. `detail` holds nothing of a patient."""

    record: ConsumedRecord
    reason: Reason
    detail: str


def publish_dead_letters(
    publisher: Publisher, consumer: str, letters: Sequence[DeadLetter], now: datetime
) -> None:
    """On return every letter is acknowledged on its topic's `.dlq`.

    Raises RetryableError (then any of them may be there), PoisonError, FatalError.
    """
    outgoing = [outgoing_record(consumer, letter, now) for letter in letters]
    publisher.publish_all(outgoing, ACKNOWLEDGE_TIMEOUT_S)


def outgoing_record(consumer: str, letter: DeadLetter, now: datetime) -> OutgoingRecord:
    """The dead letter as a record of the `.dlq` topic; our headers stand after the original's.

    A record that was redriven and refused again carries the headers of its newest refusal only.
    """
    record = letter.record
    original = tuple(header for header in record.headers if header[0] not in HILUM_HEADERS)
    ours: Headers = (
        (CONSUMER_HEADER, consumer.encode()),
        (REASON_HEADER, letter.reason.value.encode()),
        (DETAIL_HEADER, letter.detail.encode("utf-8", "replace")[:DETAIL_BYTES_MAX]),
        (TOPIC_HEADER, record.topic.encode()),
        (PARTITION_HEADER, str(record.partition).encode()),
        (OFFSET_HEADER, str(record.offset).encode()),
        (FIRST_SEEN_HEADER, now.astimezone(UTC).isoformat().replace("+00:00", "Z").encode()),
    )
    return OutgoingRecord(BY_NAME[record.topic].dlq_name, record.key, record.value, original + ours)
