"""`hilum verify --adopt`: packs that no event names are checked whole and told to everybody.

Invariant: a pack is announced only after all of its bytes were read and hashed, and its event is
the last thing to be published: whatever is cut off before is an orphan still, and the next run
does all of it again, which changes nothing. What is not right is named and left where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from consumers.announce import Announcer, Custody, chunks, custody_members
from consumers.index_input import fault_of
from consumers.index_writer import IndexWriter
from contracts.events import Area, CustodyState, Event, PackArchived
from contracts.failures import PoisonError
from contracts.identity import record_key
from contracts.packs import ARCHIVED_AT_METADATA
from infra.connect import Engines
from infra.seams import ObjectStore, StoreSite
from operations.custody_sources import named_objects
from operations.packs.whole import WholePack, read_whole
from operations.verify import LISTED_MAX, Verdict

WORKERS = 4
# Read and checked together, then written to the index by one insert.
PACKS_TOGETHER = 16

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Adoption:
    """The keys that have an event now, and a line for each pack that cannot have one."""

    adopted: tuple[str, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckedPack:
    """A pack without a fault and the event that tells of it."""

    pack: WholePack
    event: PackArchived


def adopt(engines: Engines, tell: Tell = lambda text: None) -> Adoption:
    """On return every sound pack of the primary bucket is in the index and named by an event.

    Gateways that wait for these deliveries have their custody; the second site copies the packs
    when it reads the events. Raises RetryableError, FatalError.
    """
    orphans = list(_orphans(engines))
    adopted: list[str] = []
    refused: list[str] = []
    announcer = Announcer(engines.publisher, engines.clock)
    with ThreadPoolExecutor(WORKERS) as pool:
        for keys in chunks(orphans, PACKS_TOGETHER):
            sound: list[CheckedPack] = []
            for found in pool.map(lambda key: check_pack(engines.primary, key), keys):
                if isinstance(found, str):
                    refused.append(found)
                else:
                    sound.append(found)
            by_index = _refused_by_index(engines, sound)
            refused += by_index.values()
            taken = [one for one in sound if one.pack.key not in by_index]
            _announce(announcer, taken)
            adopted += [one.pack.key for one in taken]
            tell(f"adopting: {len(adopted) + len(refused)} of {len(orphans)} packs looked at")
    return Adoption(tuple(adopted), tuple(refused))


def check_pack(site: StoreSite, key: str) -> CheckedPack | str:
    """A pack of a site's bucket with the event that tells of it, or what is wrong with it.

    Raises RetryableError, FatalError.
    """
    try:
        pack = read_whole(site.object_store, key)
    except KeyError:
        return f"{key}: was listed and is gone"
    if pack.faults:
        return pack.faults[0]
    archived_at = _archived_at(site.object_store, key)
    if archived_at is None:
        return f"{key}: its metadata {ARCHIVED_AT_METADATA} is missing or no time"
    event = PackArchived(
        site=site.name,
        bucket=site.object_store.bucket,
        object_key=key,
        area=pack.area,
        archived_at=archived_at,
        object_sha256=pack.object_sha256,
        object_size_bytes=pack.size_bytes,
        members=pack.members,
    )
    told: tuple[Event, ...] = (event, *pack.events)
    fault = next(filter(None, map(fault_of, told)), None)
    return f"{key}: {fault}" if fault else CheckedPack(pack, event)


def with_adoption(verdict: Verdict, adoption: Adoption) -> Verdict:
    """The verdict that also tells what was adopted; what could not be is not good."""
    reasons = verdict.reasons
    if adoption.refused:
        reasons += (f"{len(adoption.refused)} packs that no event names are damaged",)
    return replace(
        verdict,
        ok=verdict.ok and not adoption.refused,
        adopted=len(adoption.adopted),
        not_adopted=adoption.refused[:LISTED_MAX],
        reasons=reasons,
    )


def _orphans(engines: Engines) -> Iterator[str]:
    # Listed first: a pack that is announced between the two questions is then a named one.
    store = engines.primary.object_store
    listed = [stored.key for area in Area for stored in store.list(f"{area.value}/")]
    named = named_objects(engines.settings.kafka)
    return (key for key in listed if key not in named)


def _refused_by_index(engines: Engines, checked: Sequence[CheckedPack]) -> dict[str, str]:
    """On return the index has all but these, by key with a line for each.

    Both halves of every instance: the received events may be gone with their topic.
    """
    if not checked:
        return {}
    try:
        with closing(IndexWriter(engines.primary.database, engines.clock)) as index:
            index.write(
                received=[event for one in checked for event in one.pack.events],
                archived=[one.event for one in checked],
            )
    except PoisonError as cause:
        if len(checked) == 1:
            key = checked[0].pack.key
            return {key: f"{key}: the index refuses it ({cause.reason.value})"}
        found: dict[str, str] = {}
        for one in checked:
            found |= _refused_by_index(engines, [one])
        return found
    return {}


def _announce(announcer: Announcer, checked: Sequence[CheckedPack]) -> None:
    """Custody first: a pack without its event is found again, a custody without it is not."""
    for one in checked:
        is_quarantine = one.event.area is Area.QUARANTINE
        state = CustodyState.QUARANTINED if is_quarantine else CustodyState.ARCHIVED
        announcer.custody(Custody(state, one.pack.key), custody_members(one.event.members))
    announcer.wait()
    announce_packs(announcer, checked)


def announce_packs(announcer: Announcer, checked: Sequence[CheckedPack]) -> None:
    """On return the events of these packs are acknowledged. Raises RetryableError, FatalError."""
    for one in checked:
        announcer.publish(one.event, record_key(one.event.members[0].content), one.pack.key)
    announcer.wait()


def _archived_at(store: ObjectStore, key: str) -> datetime | None:
    stored = store.head(key)
    try:
        text = "" if stored is None else stored.metadata[ARCHIVED_AT_METADATA]
        at = datetime.fromisoformat(text)
    except (KeyError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
