"""Which packs there are of each study, and which of them the others make superfluous.

Invariant: only packs that an event names are seen, so what nobody has adopted is neither taken
away nor a reason to take another away. A pack is superfluous when each of its deliveries is in a
pack of a smaller key that is not; of the packs that hold a delivery the smallest therefore never
is, whoever else decides at the same time, and the index, which names the smallest, names it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from contracts.events import Area
from contracts.identity import record_key
from contracts.pack_records import COLLECTED_PREFIX, collected_key
from infra.connect import Engines
from infra.seams import ObjectStore
from operations.custody_sources import archived_packs

DeliveryContent = tuple[str, str]  # delivery_id, content_sha256


@dataclass(frozen=True, slots=True)
class NamedPack:
    """A pack that an event names and a bucket has."""

    key: str
    area: Area
    study_instance_uid: str  # '' where the pack's one SOP Instance has none
    uid: str  # what it is grouped by, and what the index knows it by
    size_bytes: int
    archived_at: datetime
    deliveries: frozenset[DeliveryContent]
    is_at_primary: bool
    is_at_dr: bool

    @property
    def uid_kind(self) -> str:
        """The index's column that `uid` is a value of."""
        return "study_instance_uid" if self.study_instance_uid else "sop_instance_uid"


@dataclass(frozen=True, slots=True)
class Superfluous:
    """A pack whose deliveries are all in `holders`, which stay."""

    pack: NamedPack
    holders: tuple[NamedPack, ...]


@dataclass(frozen=True, slots=True)
class ListedPack:
    """One of the rows of `hilum packs list --json`."""

    study_instance_uid: str
    object_key: str
    size_bytes: int
    deliveries: int
    archived_at: datetime
    sites: tuple[str, ...]
    is_superfluous: bool


def listed_packs(engines: Engines, studies: Collection[str] = ()) -> list[ListedPack]:
    """The packs of these studies, or of all, by study and key. Raises as `named_packs` does."""
    rows = []
    for group in named_packs(engines, studies):
        may_go = {one.pack.key for one in superfluous(group)}
        for pack in group:
            sites = (
                (engines.primary.name, pack.is_at_primary),
                (engines.dr.name, pack.is_at_dr),
            )
            rows.append(
                ListedPack(
                    study_instance_uid=pack.study_instance_uid,
                    object_key=pack.key,
                    size_bytes=pack.size_bytes,
                    deliveries=len(pack.deliveries),
                    archived_at=pack.archived_at,
                    sites=tuple(name for name, has_it in sites if has_it),
                    is_superfluous=pack.key in may_go,
                )
            )
    return rows


def named_packs(engines: Engines, studies: Collection[str] = ()) -> list[list[NamedPack]]:
    """The packs of each study (or SOP Instance, where there is none), by key.

    Those of the primary bucket, and those that a collection that was cut off has left at the
    second site alone. Raises RetryableError, FatalError.
    """
    here = _keys(engines.primary.object_store)
    there = _keys(engines.dr.object_store)
    records = {one.key for one in engines.primary.object_store.list(COLLECTED_PREFIX)}
    left_over = {key for key in there - here if collected_key(key) in records}
    groups: dict[tuple[Area, str], dict[str, NamedPack]] = defaultdict(dict)
    seen = here | left_over
    for event in archived_packs(engines.settings.kafka):
        if event.object_key not in seen or not event.members:
            continue
        content = event.members[0].content
        uid = record_key(content).decode()
        if studies and uid not in studies:
            continue
        groups[event.area, uid][event.object_key] = NamedPack(
            key=event.object_key,
            area=event.area,
            study_instance_uid=content.study_instance_uid,
            uid=uid,
            size_bytes=event.object_size_bytes,
            archived_at=event.archived_at,
            deliveries=frozenset((m.delivery_id, m.content.content_sha256) for m in event.members),
            is_at_primary=event.object_key in here,
            is_at_dr=event.object_key in there,
        )
    return [[group[key] for key in sorted(group)] for _, group in sorted(groups.items())]


def superfluous(packs: Sequence[NamedPack]) -> list[Superfluous]:
    """Those of one study's packs that the others make superfluous."""
    holders: dict[DeliveryContent, NamedPack] = {}
    found = []
    for pack in sorted(packs, key=lambda pack: pack.key):
        if all(delivery in holders for delivery in pack.deliveries):
            theirs = {holders[delivery].key: holders[delivery] for delivery in pack.deliveries}
            found.append(Superfluous(pack, tuple(theirs[key] for key in sorted(theirs))))
        elif pack.is_at_primary:
            holders = {**dict.fromkeys(pack.deliveries, pack), **holders}
    return found


def _keys(store: ObjectStore) -> set[str]:
    return {stored.key for area in Area for stored in store.list(f"{area.value}/")}
