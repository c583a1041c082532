"""`hilum status`: each process, each gateway's spool, each consumer's lag.

Invariant: what cannot be asked is shown with the reason, and makes the answer not ok; one dead
engine never hides what the others say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from consumers.catalog import CATALOG
from contracts.failures import HilumError
from infra.cluster_view import ClusterView
from infra.settings import Settings
from operations.custody_sources import unarchived_count
from operations.gateway_words import SpokenState, gateway_words
from operations.stack_states import ProcessState

# A gateway speaks every 10 s; three missed words are a silence worth showing.
SILENCE_S = 35.0


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """One gateway's spool, from its own last word."""

    gateway: str
    site: str
    gateway_id: str
    said_s_ago: float
    depth: int
    oldest_entry_at: datetime | None
    oldest_entry_age_s: float | None
    spool_bytes: int
    receipts_unpublished: int
    is_publishing: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ConsumerLag:
    """How far one consumer is behind on one topic; seconds are None where nobody could say."""

    consumer: str
    topic: str
    lag_records: int
    lag_seconds: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """The keys of `hilum status --json`."""

    ok: bool
    processes: tuple[ProcessState, ...]
    spools: tuple[SpoolStatus, ...]
    lags: tuple[ConsumerLag, ...]
    problems: tuple[str, ...]


def status(settings: Settings, processes: Sequence[ProcessState]) -> Status:
    """What the stack says of itself now. Never raises for an engine that is down."""
    problems = [f"{p.name}: {p.reason or p.state}" for p in processes if not p.ready]
    spools: tuple[SpoolStatus, ...] = ()
    lags: tuple[ConsumerLag, ...] = ()
    try:
        spools = tuple(_spool(word) for word in gateway_words(settings.kafka).values())
        lags = tuple(_lags(settings))
    except HilumError as cause:
        problems.append(f"asking Kafka: {cause}")
    problems.extend(_spool_problems(spools))
    return Status(not problems, tuple(processes), spools, lags, tuple(problems))


def _spool(word: SpokenState) -> SpoolStatus:
    now, state = datetime.now(UTC), word.state
    oldest = state.oldest_unarchived_at
    return SpoolStatus(
        gateway=state.gateway_name,
        site=state.site,
        gateway_id=state.gateway_id,
        said_s_ago=round((now - word.taken_at).total_seconds(), 1),
        depth=unarchived_count(state),
        oldest_entry_at=oldest,
        oldest_entry_age_s=None if oldest is None else round((now - oldest).total_seconds(), 1),
        spool_bytes=state.spool_bytes,
        receipts_unpublished=state.receipts_unpublished,
        is_publishing=state.is_publishing,
        reason=state.reason,
    )


def _spool_problems(spools: Sequence[SpoolStatus]) -> list[str]:
    problems = []
    for spool in spools:
        if spool.said_s_ago > SILENCE_S:
            problems.append(f"gateway {spool.gateway}: silent for {spool.said_s_ago:.0f} s")
        elif not spool.is_publishing:
            problems.append(f"gateway {spool.gateway}: {spool.reason or 'not publishing'}")
    return problems


def _lags(settings: Settings) -> list[ConsumerLag]:
    view = ClusterView(settings.kafka)
    try:
        return [
            ConsumerLag(spec.name, topic, lag.records, lag.seconds)
            for spec in CATALOG
            for topic, lag in view.group_lag(
                spec.name, [topic.name for topic in spec.inputs]
            ).items()
        ]
    finally:
        view.close()
