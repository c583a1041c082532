"""`hilum verify`: is every acknowledged image in both archives and both indexes?

Invariant: acknowledged comes from receipts alone, archived from the bucket's own manifests,
indexed from ClickHouse, replicated from the second site; no source answers for another. The
headline is `acknowledged_not_found`, and a gateway that does not answer is never called good.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from infra.connect import Engines
from operations import custody_sources as sources
from operations.custody_sources import Acknowledgement, ArchivedMember, Bucket, Content
from operations.gateway_words import Since, SpokenState, gateway_words
from operations.rehash import Rehash, rehash_bucket

POLL_S = 1.0
LISTED_MAX = 100  # of each list in the answer; the counts are always whole


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How long to wait for what is under way, and whether every byte is read again."""

    wait_s: float = 120.0
    rehash: bool = False


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
    gateways: tuple[SilentGateway, ...] = ()
    unreadable_packs: tuple[str, ...] = ()
    bytes_checked: int | None = None
    bytes_wrong: tuple[str, ...] = ()
    adopted: int | None = None
    not_adopted: tuple[str, ...] = ()
    reasons: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _Witnesses:
    """What all sources said in one round."""

    acknowledgements: list[Acknowledgement]
    primary: Bucket
    dr: Bucket
    indexed: set[Content]
    indexed_dr: set[Content]
    refused_ids: set[str]


def verify(
    engines: Engines, options: VerifyOptions, tell: Callable[[str], None] = lambda text: None
) -> Verdict:
    """Compares all witnesses as of now, waiting `wait_s` at most for what is under way.

    Raises RetryableError, FatalError when a source cannot be asked at all.
    """
    started_at = datetime.now(UTC)
    deadline = time.monotonic() + options.wait_s
    open_gateways = _wait_for_gateways(engines, started_at, deadline, tell)
    while True:
        verdict = _compare(engines, started_at, open_gateways)
        if verdict.ok or time.monotonic() >= deadline or open_gateways:
            break
        tell(f"{verdict.reasons[0]}; looking again")
        time.sleep(POLL_S)
    if options.rehash:
        verdict = _with_rehash(verdict, rehash_bucket(engines.primary, tell))
        verdict = _with_rehash(verdict, rehash_bucket(engines.dr, tell))
    return verdict


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
    engines: Engines, started_at: datetime, open_gateways: list[tuple[SilentGateway, int]]
) -> Verdict:
    said = _ask_all(engines)
    before = [a for a in said.acknowledgements if a.at <= started_at]
    answered_ok = [a for a in before if a.status == sources.SUCCESS and a.content[1]]
    acknowledged = {a.content for a in answered_ok}
    not_ours = _not_acknowledged(said.acknowledgements, started_at)
    archived = _counted(said.primary.archived, started_at, acknowledged, not_ours)
    quarantined = _counted(said.primary.quarantined, started_at, acknowledged, not_ours) - archived
    refused = {a.content for a in answered_ok if a.delivery_id in said.refused_ids}
    refused -= archived | quarantined
    replicated = sources.contents(said.dr.archived) & said.indexed_dr & archived
    not_found = acknowledged - archived - quarantined - refused
    orphans = _orphans(engines, said.primary)
    counts = _Counts(
        acknowledged=len(acknowledged),
        archived=len(archived),
        quarantined=len(quarantined),
        refused=len(refused),
        indexed=len(said.indexed & archived),
        replicated=len(replicated),
        not_found=len(not_found),
    )
    reasons = _reasons(counts, open_gateways, said)
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
        deliveries=len(answered_ok),
        in_flight=sum(in_flight for _, in_flight in open_gateways),
        conflicts=sources.conflict_count(engines.primary.database),
        orphan_objects=len(orphans),
        orphan_bytes=sum(orphans.values()),
        redundant_bytes=redundant_bytes(said.primary.archived),
        not_found=tuple(sorted(not_found)[:LISTED_MAX]),
        gateways=tuple(gateway for gateway, _ in open_gateways),
        unreadable_packs=(said.primary.unreadable + said.dr.unreadable)[:LISTED_MAX],
        reasons=reasons,
    )


def _ask_all(engines: Engines) -> _Witnesses:
    # The order matters: what a later source has, an earlier one may lack without fault, so the
    # receipts (the claim) are read before the places where the images must be.
    acknowledgements = sources.acknowledgements(engines.settings.kafka)
    return _Witnesses(
        acknowledgements=acknowledgements,
        primary=sources.bucket(engines.primary.object_store),
        dr=sources.bucket(engines.dr.object_store),
        indexed=sources.indexed(engines.primary.database),
        indexed_dr=sources.indexed(engines.dr.database),
        refused_ids={i for _, i in sources.refused_deliveries(engines.settings.kafka) if i},
    )


def _not_acknowledged(said: list[Acknowledgement], started_at: datetime) -> set[str]:
    """Deliveries that were answered with a failure, or only after the start."""
    return {a.delivery_id for a in said if a.status != sources.SUCCESS or a.at > started_at}


def _counted(
    members: Iterable[ArchivedMember],
    started_at: datetime,
    acknowledged: set[Content],
    not_ours: set[str],
) -> set[Content]:
    """The contents that a bucket holds as of the start.

    What was answered with a failure (kept in quarantine all the same) or came after the start is
    left out, unless the same content was also acknowledged before; what nobody ever acknowledged
    stays in and makes the counts disagree, because nothing may appear that was not received.
    """
    return {
        m.content
        for m in members
        if m.content in acknowledged
        or (m.delivery_id not in not_ours and m.received_at <= started_at)
    }


def _orphans(engines: Engines, bucket: Bucket) -> dict[str, int]:
    named = sources.named_objects(engines.settings.kafka)
    return {o.key: o.size_bytes for o in bucket.objects if o.key not in named}


def redundant_bytes(members: Iterable[ArchivedMember]) -> int:
    """What contents take beyond their first copy."""
    copies: dict[Content, list[int]] = defaultdict(list)
    for member in members:
        copies[member.content].append(member.size_bytes)
    return sum(sum(sizes[1:]) for sizes in copies.values())


@dataclass(frozen=True, slots=True)
class _Counts:
    acknowledged: int
    archived: int
    quarantined: int
    refused: int
    indexed: int
    replicated: int
    not_found: int


def _reasons(
    counts: _Counts, open_gateways: list[tuple[SilentGateway, int]], said: _Witnesses
) -> tuple[str, ...]:
    kept = counts.archived + counts.quarantined + counts.refused
    checks = (
        (counts.not_found, f"{counts.not_found} acknowledged and not found"),
        (counts.acknowledged != kept, f"{counts.acknowledged} acknowledged, {kept} kept"),
        (counts.refused, f"{counts.refused} refused: see `hilum dlq list`"),
        (
            counts.indexed != counts.archived,
            f"{counts.archived} archived, {counts.indexed} indexed",
        ),
        (
            counts.replicated != counts.archived,
            f"{counts.archived} archived, {counts.replicated} replicated",
        ),
        (said.primary.unreadable, f"{len(said.primary.unreadable)} packs without a manifest"),
        (said.dr.unreadable, f"{len(said.dr.unreadable)} packs without a manifest at DR"),
    )
    gateways = [f"gateway {gateway.name}: {gateway.reason}" for gateway, _ in open_gateways]
    return tuple(gateways + [text for is_wrong, text in checks if is_wrong])


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
