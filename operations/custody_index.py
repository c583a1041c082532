"""Custody as ClickHouse counts it: for millions of instances, in seconds.

Invariant: the buckets' listings decide which packs are there, and what the index does not name is
read from its own manifest; what all witnesses agree about is counted, everything else is judged
content by content. It must not be believed where the index lacks receipts, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from contracts.topics import RECEIPT, RECEIVED
from infra.connect import Engines
from infra.seams import StoredObject, StoreSite
from operations import custody_sources as sources
from operations.custody_desk import Witnesses, judge_irregular
from operations.custody_judge import Counts, Custody, redundant_bytes
from operations.custody_queries import (
    ARCHIVED_WHOLE,
    QUARANTINED_WHOLE,
    IndexQueries,
    Witness,
    named_packs,
)
from operations.custody_replica import lacking
from operations.custody_sources import Bucket
from operations.receipts_indexed import faults_of_receipts


@dataclass(frozen=True, slots=True)
class _Packs:
    """A bucket's listing beside what its site's index names.

    `gone` is named and not listed, or `short` of its members; `unnamed` is listed only.
    """

    gone: frozenset[str]
    short: tuple[str, ...]
    unnamed: tuple[StoredObject, ...]


def count_from_index(engines: Engines, started_at: datetime) -> Custody:
    """What both indexes say as of the start. Raises RetryableError, FatalError."""
    # The claim is complete before the places where the images must be are looked at.
    faults = faults_of_receipts(engines)
    with ThreadPoolExecutor(2, thread_name_prefix="packs") as pool:
        here, there = pool.map(_packs, (engines.primary, engines.dr))
    primary = IndexQueries(engines.primary.database, started_at, here.gone)
    dr = IndexQueries(engines.dr.database, started_at, there.gone)
    unnamed = sources.manifests_of(engines.primary.object_store, here.unnamed)
    refused = sources.refused_deliveries(engines.settings.kafka)
    said = Witnesses(primary, dr, unnamed, {i for _, i in refused if i}, started_at)
    found = judge_irregular(said)
    whole, in_quarantine = found.regular[ARCHIVED_WHOLE], found.regular[QUARANTINED_WHOLE]
    regular = Counts(
        acknowledged=whole + in_quarantine,
        archived=whole,
        quarantined=in_quarantine,
        indexed=whole,
        replicated=whole - lacking(said, found.judged),
    )
    counts = replace(regular + found.counts, deliveries=primary.acknowledged_deliveries())
    return Custody(
        counts=counts,
        not_found=found.not_found,
        conflicts=sources.conflict_count(engines.primary.database),
        orphans={stored.key: stored.size_bytes for stored in here.unnamed},
        redundant_bytes=primary.redundant_bytes() + _redundant_in(unnamed, primary),
        unreadable=here.short + unnamed.unreadable,
        unreadable_dr=there.short,
        sources=_sources(engines),
        faults=faults,
    )


def _packs(site: StoreSite) -> _Packs:
    # Listed after: what is named was stored before.
    named = named_packs(site.database)
    listed = {stored.key: stored for stored in sources.pack_objects(site.object_store)}
    short = [
        key for key, reach in named.items() if key in listed and listed[key].size_bytes < reach
    ]
    gone = {key for key in named if key not in listed}.union(short)
    unnamed = tuple(stored for key, stored in listed.items() if key not in named)
    return _Packs(frozenset(gone), tuple(sorted(short)), unnamed)


def _redundant_in(unnamed: Bucket, primary: IndexQueries) -> int:
    """What packs that the index does not name hold beyond a first copy, in whichever pack."""
    known = primary.witnesses_of({member.content for member in unnamed.archived})
    elsewhere = {content for content, one in known.items() if Witness.ARCHIVED in one}
    copies = [m for m in unnamed.archived if m.content in elsewhere]
    others = [m for m in unnamed.archived if m.content not in elsewhere]
    return sum(m.size_bytes for m in copies) + redundant_bytes(others)


def _sources(engines: Engines) -> Mapping[str, str]:
    primary, dr = engines.primary, engines.dr
    here = f"ClickHouse {primary.name}: {primary.database.name}"
    there = f"ClickHouse {dr.name}: {dr.database.name}"
    listed = f"{primary.object_store.bucket} ({primary.name}) as it is listed now"
    return {
        "acknowledged": f"{here}.receipts, complete up to the end of topic {RECEIPT.name}",
        "archived": f"{here}.archived, in packs of {listed}",
        "quarantined": f"{here}.deliveries, in packs of {listed}",
        "refused": f"topic {RECEIVED.dlq_name}",
        "indexed": f"{here}.instances",
        "replicated": (
            f"{there}.archived and {there}.instances, in packs of"
            f" {dr.object_store.bucket} ({dr.name}) as it is listed now"
        ),
        "orphan_objects": f"{listed}, less what {here}.archived names",
    }
