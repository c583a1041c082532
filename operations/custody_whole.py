"""Custody from each source itself: the receipt topic, every manifest of both buckets, both indexes.

Invariant: no source answers for another, so what one of them lost the others still tell. All of
it is read and held in memory: it must not be the way for millions (`custody_index` is).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from contracts.topics import PACK_ARCHIVED, RECEIPT, RECEIVED
from infra.connect import Engines
from operations import custody_sources as sources
from operations.custody_judge import Custody, Evidence, judge, redundant_bytes
from operations.custody_sources import Bucket


def count_from_sources(engines: Engines, started_at: datetime) -> Custody:
    """What all sources say as of the start. Raises RetryableError, FatalError."""
    # The order matters: what a later source has, an earlier one may lack without fault, so the
    # receipts (the claim) are read before the places where the images must be.
    acknowledgements = sources.acknowledgements(engines.settings.kafka)
    primary = sources.bucket(engines.primary.object_store)
    dr = sources.bucket(engines.dr.object_store)
    indexed = sources.indexed(engines.primary.database)
    indexed_dr = sources.indexed(engines.dr.database)
    refused = sources.refused_deliveries(engines.settings.kafka)
    evidence = Evidence(
        acknowledgements=acknowledgements,
        archived=primary.archived,
        quarantined=primary.quarantined,
        indexed=indexed,
        replicated=sources.contents(dr.archived) & indexed_dr,
        refused_ids={delivery_id for _, delivery_id in refused if delivery_id},
    )
    judged = judge(evidence, started_at)
    return Custody(
        counts=judged.counts,
        not_found=tuple(sorted(judged.not_found)),
        conflicts=sources.conflict_count(engines.primary.database),
        orphans=_orphans(engines, primary),
        redundant_bytes=redundant_bytes(primary.archived),
        unreadable=primary.unreadable,
        unreadable_dr=dr.unreadable,
        sources=_sources(engines),
    )


def _orphans(engines: Engines, bucket: Bucket) -> dict[str, int]:
    named = sources.named_objects(engines.settings.kafka)
    return {o.key: o.size_bytes for o in bucket.objects if o.key not in named}


def _sources(engines: Engines) -> Mapping[str, str]:
    primary, dr = engines.primary, engines.dr
    manifests = f"manifest of each pack in {primary.object_store.bucket} ({primary.name})"
    return {
        "acknowledged": f"topic {RECEIPT.name}, read whole",
        "archived": manifests,
        "quarantined": manifests,
        "refused": f"topic {RECEIVED.dlq_name}",
        "indexed": f"ClickHouse {primary.name}: {primary.database.name}.instances",
        "replicated": (
            f"manifest of each pack in {dr.object_store.bucket} ({dr.name}) and"
            f" ClickHouse {dr.name}: {dr.database.name}.instances"
        ),
        "orphan_objects": f"topic {PACK_ARCHIVED.name}, read whole",
    }
