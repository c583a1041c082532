"""Contents about which the witnesses of an index disagree, judged one by one.

Invariant: a content is judged by everything that the index, the second site and the manifests of
packs that the index does not name say of it, and by the rule of `custody_judge`. It must not hold
more than JUDGED_AT_ONCE of them with their deliveries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from consumers.announce import chunks
from contracts.events import Area
from operations.custody_judge import Counts, Evidence, Judged, judge
from operations.custody_queries import REGULAR, IndexQueries, Witness
from operations.custody_sources import Acknowledgement, ArchivedMember, Bucket, Content

JUDGED_AT_ONCE = 50_000
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Whom to ask: both indexes, packs that the first one does not name, open dead letters."""

    primary: IndexQueries
    dr: IndexQueries
    unnamed: Bucket
    refused_ids: Collection[str]
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Found:
    """`regular` contents by their witnesses, the sum over those `judged`, and what is nowhere."""

    regular: Mapping[Witness, int]
    counts: Counts
    judged: frozenset[Content]
    not_found: tuple[Content, ...]


def judge_irregular(said: Witnesses) -> Found:
    """Every content, counted where its witnesses agree and judged where they do not.

    Raises RetryableError, FatalError.
    """
    by_witness = said.primary.contents_by_witness()
    regular = {one: by_witness.pop(one, 0) for one in REGULAR}
    total = Counts()
    judged: set[Content] = set()
    not_found: list[Content] = []
    for contents in _irregular(said, sum(by_witness.values())):
        found = judge_contents(said, contents)
        total += found.counts
        judged.update(contents)
        not_found += found.not_found
    unnamed = {m.content for m in (*said.unnamed.archived, *said.unnamed.quarantined)} - judged
    for some in chunks(sorted(unnamed), JUDGED_AT_ONCE):
        known = said.primary.witnesses_of(some)
        # These have one more pack than the index knows, and were counted where it knows enough.
        for witness in known.values():
            if witness in regular:
                regular[witness] -= 1
        found = judge_contents(said, dict.fromkeys(some, Witness(0)) | known)
        total += found.counts
        not_found += found.not_found
    return Found(regular, total, frozenset(judged | unnamed), tuple(sorted(not_found)))


def judge_contents(said: Witnesses, contents: Mapping[Content, Witness]) -> Judged:
    """Some contents and who knows them, by all that is said. Raises RetryableError, FatalError."""
    acknowledgements: list[Acknowledgement] = []
    archived = [m for m in said.unnamed.archived if m.content in contents]
    quarantined = [m for m in said.unnamed.quarantined if m.content in contents]
    for row in said.primary.deliveries_of(contents):
        acknowledgements += _acknowledgement(row)
        kept = quarantined if row["kept_in"] == Area.QUARANTINE.value else archived
        kept += _members(row)
    evidence = Evidence(
        acknowledgements=acknowledgements,
        archived=archived,
        quarantined=quarantined,
        indexed={content for content, one in contents.items() if Witness.INDEXED in one},
        replicated=said.dr.whole_among(contents),
        refused_ids=said.refused_ids,
    )
    return judge(evidence, said.started_at)


def _irregular(said: Witnesses, expected: int) -> Iterator[dict[Content, Witness]]:
    if expected:
        parts = expected // JUDGED_AT_ONCE + 1
        for part in range(parts):
            yield said.primary.irregular(part, parts)


def _acknowledgement(row: Mapping[str, Any]) -> Iterator[Acknowledgement]:
    if row["status"] is not None:
        yield Acknowledgement(row["delivery_id"], _content(row), row["status"], row["answered"])


def _members(row: Mapping[str, Any]) -> Iterator[ArchivedMember]:
    received_at = row["received"] or row["answered"] or _EARLIEST
    for key in row["keys"]:
        yield ArchivedMember(key, _content(row), row["delivery_id"], received_at, row["size"])


def _content(row: Mapping[str, Any]) -> Content:
    return row["sop_instance_uid"], row["content_sha256"]
