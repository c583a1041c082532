"""What witnesses of contents say, compared: acknowledged, kept where, and what is missing.

Invariant: contents are judged one by one, so judging some of them and then the others gives the
same counts as judging all at once. Pure; it must not ask anybody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from operations.custody_sources import SUCCESS, Acknowledgement, ArchivedMember, Content


@dataclass(frozen=True, slots=True)
class Evidence:
    """What all witnesses say of some contents; `replicated`: in the second site's both."""

    acknowledgements: Sequence[Acknowledgement]
    archived: Sequence[ArchivedMember]
    quarantined: Sequence[ArchivedMember]
    indexed: Collection[Content]
    replicated: Collection[Content]
    refused_ids: Collection[str]


@dataclass(frozen=True, slots=True)
class Counts:
    """Distinct contents by what is known of them; `deliveries` were answered with success."""

    acknowledged: int = 0
    archived: int = 0
    quarantined: int = 0
    refused: int = 0
    indexed: int = 0
    replicated: int = 0
    not_found: int = 0
    deliveries: int = 0

    @property
    def kept(self) -> int:
        """What became of the acknowledged ones, each once."""
        return self.archived + self.quarantined + self.refused

    def __add__(self, other: Counts) -> Counts:
        """The counts of these contents and others together."""
        return Counts(
            *(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)),
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """The counts of some contents, and which of them were acknowledged and are nowhere."""

    counts: Counts
    not_found: frozenset[Content]


@dataclass(frozen=True, slots=True)
class Custody:
    """What one way of asking found about everything, and whom it asked.

    `faults` are reasons why the way itself cannot be believed; `orphans` maps keys to bytes.
    """

    counts: Counts
    not_found: tuple[Content, ...]
    conflicts: int
    orphans: Mapping[str, int]
    redundant_bytes: int
    unreadable: tuple[str, ...]
    unreadable_dr: tuple[str, ...]
    sources: Mapping[str, str]
    faults: tuple[str, ...] = ()


def judge(evidence: Evidence, started_at: datetime) -> Judged:
    """The contents of this evidence as of the start."""
    before = [a for a in evidence.acknowledgements if a.at <= started_at]
    answered_ok = [a for a in before if a.status == SUCCESS and a.content[1]]
    acknowledged = {a.content for a in answered_ok}
    not_ours = _not_acknowledged(evidence.acknowledgements, started_at)
    archived = _counted(evidence.archived, started_at, acknowledged, not_ours)
    quarantined = _counted(evidence.quarantined, started_at, acknowledged, not_ours) - archived
    refused = {a.content for a in answered_ok if a.delivery_id in evidence.refused_ids}
    refused -= archived | quarantined
    not_found = acknowledged - archived - quarantined - refused
    counts = Counts(
        acknowledged=len(acknowledged),
        archived=len(archived),
        quarantined=len(quarantined),
        refused=len(refused),
        indexed=sum(content in evidence.indexed for content in archived),
        replicated=sum(content in evidence.replicated for content in archived),
        not_found=len(not_found),
        deliveries=len(answered_ok),
    )
    return Judged(counts, frozenset(not_found))


def redundant_bytes(members: Iterable[ArchivedMember]) -> int:
    """What contents take beyond their first copy."""
    copies: dict[Content, list[int]] = defaultdict(list)
    for member in members:
        copies[member.content].append(member.size_bytes)
    return sum(sum(sizes[1:]) for sizes in copies.values())


def _not_acknowledged(said: Iterable[Acknowledgement], started_at: datetime) -> set[str]:
    """Deliveries that were answered with a failure, or only after the start."""
    return {a.delivery_id for a in said if a.status != SUCCESS or a.at > started_at}


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
