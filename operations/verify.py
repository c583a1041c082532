"""`hilum verify`: is every acknowledged image in both archives and both indexes?

Invariant: the headline is `acknowledged_not_found`, and a gateway that does not answer is never
called good. Two ways lead to the counts, and the answer names their sources: each source itself
(`custody_whole`), and for millions of instances ClickHouse (`custody_index`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from infra.connect import Engines
from operations.custody_index import count_from_index
from operations.custody_judge import Custody
from operations.custody_sources import Content
from operations.custody_whole import count_from_sources
from operations.gateway_words import Since, SpokenState, gateway_words
from operations.rehash import Rehash, rehash_bucket

POLL_S = 1.0
LISTED_MAX = 100  # of each list in the answer; the counts are always whole
# Up to so many receipts each source is read itself, which takes some ten seconds.
RECEIPTS_READ_MAX = 100_000


class Way(StrEnum):
    """Where the counts come from. AUTO: SOURCES for as long as that takes seconds."""

    AUTO = "auto"
    SOURCES = "sources"
    INDEX = "index"


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How long to wait for what is under way, whether every byte is read again, whom to ask."""

    wait_s: float = 120.0
    rehash: bool = False
    way: Way = Way.AUTO


@dataclass(frozen=True, slots=True)
class SilentGateway:
    """A gateway that has not said since the start that it is done, and why."""

    gateway_id: str
    site: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The keys of `hilum verify --json`. Contents are distinct (SOP Instance UID, sha256)."""

    ok: bool
    started_at: datetime
    acknowledged: int
    archived: int
    quarantined: int
    refused: int
    indexed: int
    replicated: int
    acknowledged_not_found: int
    deliveries: int
    in_flight: int
    conflicts: int
    orphan_objects: int
    orphan_bytes: int
    redundant_bytes: int
    not_found: tuple[Content, ...] = ()
    orphans: tuple[str, ...] = ()
    gateways: tuple[SilentGateway, ...] = ()
    unreadable_packs: tuple[str, ...] = ()
    bytes_checked: int | None = None
    bytes_wrong: tuple[str, ...] = ()
    adopted: int | None = None
    not_adopted: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


def verify(
    engines: Engines, options: VerifyOptions, tell: Callable[[str], None] = lambda text: None
) -> Verdict:
    """Compares all witnesses as of now, waiting `wait_s` at most for what is under way.

    Raises RetryableError, FatalError when a source cannot be asked at all.
    """
    started_at = datetime.now(UTC)
    deadline = time.monotonic() + options.wait_s
    open_gateways = _wait_for_gateways(engines, started_at, deadline, tell)
    way = _way(engines, options.way)
    while True:
        verdict = _compare(engines, way, started_at, open_gateways)
        if verdict.ok or time.monotonic() >= deadline or open_gateways:
            break
        tell(f"{verdict.reasons[0]}; looking again")
        time.sleep(POLL_S)
    if options.rehash:
        verdict = _with_rehash(verdict, rehash_bucket(engines.primary, tell))
        verdict = _with_rehash(verdict, rehash_bucket(engines.dr, tell))
    return verdict


def _way(engines: Engines, wanted: Way) -> Way:
    if wanted is not Way.AUTO:
        return wanted
    # By what the index holds: one that lost its receipts is small, and not asked for them.
    (row,) = engines.primary.database.query("SELECT count() AS receipts FROM receipt_rows")
    is_small = int(str(row["receipts"])) <= RECEIPTS_READ_MAX
    return Way.SOURCES if is_small else Way.INDEX


def _wait_for_gateways(
    engines: Engines, started_at: datetime, deadline: float, tell: Callable[[str], None]
) -> list[tuple[SilentGateway, int]]:
    since = Since(started_at)
    while True:
        words = gateway_words(engines.settings.kafka)
        waiting = list(_not_done(engines, words, since))
        if not waiting or time.monotonic() >= deadline:
            return waiting
        tell(f"waiting for gateway {waiting[0][0].name}: {waiting[0][0].reason}")
        time.sleep(POLL_S)


def _not_done(
    engines: Engines, words: dict[str, SpokenState], since: Since
) -> Iterable[tuple[SilentGateway, int]]:
    heard_from = {(word.state.site, word.state.gateway_name) for word in words.values()}
    for name, gateway in engines.settings.gateways.items():
        if (gateway.site, name) not in heard_from:
            yield SilentGateway("", gateway.site, name, "has never published its state"), 0
    for word in words.values():
        state, reason = word.state, since.why_not(word)
        if reason:
            in_flight = sum(
                total.deliveries
                for total in state.totals
                if total.state in ("spooled", "published")
            )
            yield (
                SilentGateway(state.gateway_id, state.site, state.gateway_name, reason),
                in_flight,
            )


def _compare(
    engines: Engines,
    way: Way,
    started_at: datetime,
    open_gateways: list[tuple[SilentGateway, int]],
) -> Verdict:
    found = (
        count_from_index(engines, started_at)
        if way is Way.INDEX
        else (count_from_sources(engines, started_at))
    )
    counts = found.counts
    reasons = _reasons(found, open_gateways)
    return Verdict(
        ok=not reasons,
        started_at=started_at,
        acknowledged=counts.acknowledged,
        archived=counts.archived,
        quarantined=counts.quarantined,
        refused=counts.refused,
        indexed=counts.indexed,
        replicated=counts.replicated,
        acknowledged_not_found=counts.not_found,
        deliveries=counts.deliveries,
        in_flight=sum(in_flight for _, in_flight in open_gateways),
        conflicts=found.conflicts,
        orphan_objects=len(found.orphans),
        orphan_bytes=sum(found.orphans.values()),
        redundant_bytes=found.redundant_bytes,
        not_found=found.not_found[:LISTED_MAX],
        orphans=tuple(sorted(found.orphans))[:LISTED_MAX],
        gateways=tuple(gateway for gateway, _ in open_gateways),
        unreadable_packs=(found.unreadable + found.unreadable_dr)[:LISTED_MAX],
        reasons=reasons,
        sources=found.sources,
    )


def _reasons(found: Custody, open_gateways: list[tuple[SilentGateway, int]]) -> tuple[str, ...]:
    counts = found.counts
    checks = (
        (counts.not_found, f"{counts.not_found} acknowledged and not found"),
        (
            counts.acknowledged != counts.kept,
            f"{counts.acknowledged} acknowledged, {counts.kept} kept",
        ),
        (counts.refused, f"{counts.refused} refused: see `hilum dlq list`"),
        (
            counts.indexed != counts.archived,
            f"{counts.archived} archived, {counts.indexed} indexed",
        ),
        (
            counts.replicated != counts.archived,
            f"{counts.archived} archived, {counts.replicated} replicated",
        ),
        (found.unreadable, f"{len(found.unreadable)} packs without a manifest"),
        (found.unreadable_dr, f"{len(found.unreadable_dr)} packs without a manifest at DR"),
    )
    gateways = [f"gateway {gateway.name}: {gateway.reason}" for gateway, _ in open_gateways]
    return (*gateways, *found.faults, *(text for is_wrong, text in checks if is_wrong))


def _with_rehash(verdict: Verdict, rehash: Rehash) -> Verdict:
    wrong = verdict.bytes_wrong + rehash.wrong
    reasons = verdict.reasons
    if rehash.wrong:
        reasons += (f"{len(rehash.wrong)} objects at {rehash.site} are not what was stored",)
    return replace(
        verdict,
        ok=verdict.ok and not rehash.wrong,
        bytes_checked=(verdict.bytes_checked or 0) + rehash.bytes_checked,
        bytes_wrong=wrong[:LISTED_MAX],
        reasons=reasons,
    )
