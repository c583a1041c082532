"""`hilum gateways`: which gateway ids have spoken, and the end of one that was replaced.

Invariant: retiring takes a gateway's last word off the bus and nothing else. What it acknowledged
stays a claim that `verify` holds against the archives; one that speaks again is there again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from contracts.failures import FatalError
from contracts.topics import GATEWAY_STATE
from infra.connect import Engines
from infra.seams import OutgoingRecord
from infra.settings import KafkaSettings
from operations.custody_sources import unarchived_count
from operations.gateway_words import SpokenState, gateway_words

# A gateway says something every minute at the latest.
SILENT_S_MIN = 300.0
ACKNOWLEDGE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class GatewayRow:
    """One gateway id, from its last word."""

    gateway_id: str
    site: str
    name: str
    said_at: datetime
    silent_s: float
    unarchived: int
    receipts_unpublished: int


def gateway_rows(settings: KafkaSettings) -> list[GatewayRow]:
    """Every gateway id that was not retired, by site and name. Raises RetryableError."""
    rows = [_row(word) for word in gateway_words(settings).values()]
    return sorted(rows, key=lambda row: (row.site, row.name, row.said_at))


def retire(
    engines: Engines, gateway_id: str, is_lost: bool, silent_s_min: float = SILENT_S_MIN
) -> GatewayRow:
    """On return nobody waits for this gateway any more; gives what its last word told.

    Raises FatalError (unknown, not silent, or it still holds something and is not said to be
    lost), RetryableError.
    """
    rows = {row.gateway_id: row for row in gateway_rows(engines.settings.kafka)}
    if gateway_id not in rows:
        known = ", ".join(sorted(rows)) or "none"
        raise FatalError(f"no gateway {gateway_id!r} has spoken (there is: {known})", "name one")
    row = rows[gateway_id]
    if row.silent_s < silent_s_min:
        raise FatalError(
            f"gateway {row.name} ({gateway_id}) spoke {row.silent_s:.0f} s ago",
            f"stop it, and wait until it has been silent for {silent_s_min:.0f} s",
        )
    if (row.unarchived or row.receipts_unpublished) and not is_lost:
        raise FatalError(
            f"gateway {row.name} ({gateway_id}) told of {row.unarchived} deliveries that no archive"
            f" had, and of {row.receipts_unpublished} receipts not published",
            "start it again on its spool; if that is gone for good, say so with --lost",
        )
    tombstone = OutgoingRecord(GATEWAY_STATE.name, gateway_id.encode(), None, ())
    engines.publisher.publish_all([tombstone], ACKNOWLEDGE_TIMEOUT_S)
    return row


def _row(word: SpokenState) -> GatewayRow:
    state = word.state
    return GatewayRow(
        gateway_id=state.gateway_id,
        site=state.site,
        name=state.gateway_name,
        said_at=word.taken_at,
        silent_s=round((datetime.now(UTC) - word.taken_at).total_seconds(), 1),
        unarchived=unarchived_count(state),
        receipts_unpublished=state.receipts_unpublished,
    )
