"""`hilum packs collect`: takes away packs whose every delivery was just re-hashed elsewhere.

Invariant: a pack goes only when each of its deliveries was read and hashed, in this run, in
packs of smaller keys at the primary site and at the second one, and neither index names it any
longer. A record goes to both buckets before the bytes do, the second site's copy before ours: what
is cut off at any step is found and finished by the next run. Nothing but packs is ever removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import takewhile

from contracts.events import PackArchived
from contracts.identity import ContentKey
from contracts.pack_records import collected_key, record_bytes
from infra.connect import Engines
from infra.pack_removal import PackRemoval
from infra.seams import Database, StoreSite
from operations.packs.survey import NamedPack, Superfluous, named_packs, superfluous
from operations.packs.whole import WholePack, read_whole

COLLECTED_AT_METADATA = "hilum-collected-at"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pack that may go, and the packs that hold all its deliveries."""

    object_key: str
    study_instance_uid: str
    size_bytes: int
    deliveries: int
    held_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Collected:
    """The keys of `hilum packs collect --json`.

    `collected` went (with `is_applied`) or may go as far as events tell; `waiting` has a line for
    each that has to stay for now, `damaged` for each pack that is not what its key says.
    """

    ok: bool
    is_applied: bool
    collected: tuple[Candidate, ...]
    size_bytes: int
    read_bytes: int
    waiting: tuple[str, ...]
    damaged: tuple[str, ...]


def collect(
    engines: Engines,
    studies: Collection[str] = (),
    is_applied: bool = False,
    tell: Tell = lambda text: None,
    goes_on: Callable[[], bool] = lambda: True,
) -> Collected:
    """What may go of these studies' packs, or of all; with `is_applied` it is gone on return.

    Once `goes_on` is false no further study is begun. Raises RetryableError, FatalError: what had
    to be done before is done, the rest is not begun.
    """
    run = _Run(engines, tell)
    collected: list[Candidate] = []
    for group in takewhile(lambda _: goes_on(), named_packs(engines, studies)):
        run.forget_read()
        for one in superfluous(group):
            if not is_applied or run.collects(one):
                collected.append(_candidate(one))
    return Collected(
        ok=not run.damaged,
        is_applied=is_applied,
        collected=tuple(collected),
        size_bytes=sum(candidate.size_bytes for candidate in collected),
        read_bytes=run.read_bytes,
        waiting=tuple(run.waiting),
        damaged=tuple(run.damaged),
    )


class _Run:
    """One run that removes; what it has read counts for the study at hand alone."""

    def __init__(self, engines: Engines, tell: Tell) -> None:
        settings = engines.settings
        # The second site first: our copy is what a run that is cut off finds again.
        self._sites = (
            (engines.dr, PackRemoval(settings.dr.object_store)),
            (engines.primary, PackRemoval(settings.primary.object_store)),
        )
        self._primary = engines.primary
        self._clock = engines.clock
        self._tell = tell
        self._read: dict[tuple[str, str], WholePack | None] = {}
        self.read_bytes = 0
        self.waiting: list[str] = []
        self.damaged: list[str] = []

    def forget_read(self) -> None:
        """The next study's packs are read anew."""
        self._read = {}

    def collects(self, one: Superfluous) -> bool:
        """Whether the pack went; if it did not, why is told."""
        why = self._why_not(one)
        if why:
            self.waiting.append(f"{one.pack.key}: {why}")
            return False
        for site, _ in self._sites:
            self._record(site, one.pack)
        self._tell(f"recorded {one.pack.key}")
        for site, removal in self._sites:
            removal.remove(one.pack.key)
            self._tell(f"removed {one.pack.key} at {site.name}")
        return True

    def _why_not(self, one: Superfluous) -> str:
        own = self._own_deliveries(one.pack)
        if own is None:
            return "it is damaged itself, which a person should see"
        for site, _ in self._sites:
            held: set[tuple[str, ContentKey]] = set()
            for holder in one.holders:
                assert holder.key < one.pack.key, "of the holders of a delivery the smallest stays"
                whole = self._whole(site, holder.key)
                if whole is None:
                    return f"{holder.key} is not at {site.name}"
                held |= _deliveries(whole)
            if missing := len(own - held):
                return f"{missing} of its deliveries are in no sound other pack at {site.name}"
            if not _is_moved(site.database, one.pack, own):
                return f"the index of {site.name} does not name another place for all of it yet"
        return ""

    def _own_deliveries(self, pack: NamedPack) -> set[tuple[str, ContentKey]] | None:
        """What its own bytes say that it holds, at each site that has it."""
        found: set[tuple[str, ContentKey]] = set()
        for site, _ in self._sites:
            whole = self._whole(site, pack.key)
            if whole is not None and whole.faults:
                return None
            found |= set() if whole is None else _deliveries(whole)
        return found or None

    def _whole(self, site: StoreSite, key: str) -> WholePack | None:
        """Every byte of a pack, read once for a study; None where the site has it not."""
        at = (site.name, key)
        if at not in self._read:
            self._tell(f"reading {key} at {site.name}")
            try:
                self._read[at] = whole = read_whole(site.object_store, key)
            except KeyError:
                self._read[at] = None
            else:
                self.read_bytes += whole.size_bytes
                self.damaged += [f"{site.name}: {fault}" for fault in whole.faults]
        return self._read[at]

    def _record(self, site: StoreSite, pack: NamedPack) -> None:
        """Durable on return; one that is there already counts, also with an earlier time."""
        key = collected_key(pack.key)
        if site.object_store.head(key) is not None:
            return
        data = record_bytes(self._last_event(pack))
        metadata = {COLLECTED_AT_METADATA: self._clock.now().isoformat()}
        sha256 = hashlib.sha256(data).hexdigest()
        site.object_store.put_buffers(key, [data], sha256, metadata)

    def _last_event(self, pack: NamedPack) -> PackArchived:
        """What was once announced of it, from its own bytes; of the primary site at either."""
        wholes = (self._whole(site, pack.key) for site, _ in self._sites)
        whole = next(whole for whole in wholes if whole is not None)
        return PackArchived(
            site=self._primary.name,
            bucket=self._primary.object_store.bucket,
            object_key=pack.key,
            area=pack.area,
            archived_at=pack.archived_at,
            object_sha256=whole.object_sha256,
            object_size_bytes=whole.size_bytes,
            members=whole.members,
        )


def _candidate(one: Superfluous) -> Candidate:
    return Candidate(
        object_key=one.pack.key,
        study_instance_uid=one.pack.study_instance_uid,
        size_bytes=one.pack.size_bytes,
        deliveries=len(one.pack.deliveries),
        held_by=tuple(holder.key for holder in one.holders),
    )


def _deliveries(whole: WholePack) -> set[tuple[str, ContentKey]]:
    return {(event.delivery_id, event.content) for event in whole.events}


def _is_moved(database: Database, pack: NamedPack, own: set[tuple[str, ContentKey]]) -> bool:
    """Whether an index sends every reader of these deliveries and contents to a smaller key."""
    parameters = {"uid": pack.uid, "key": pack.key}
    chosen = f"WHERE {pack.uid_kind} = {{uid:String}}"
    smaller = database.query(
        f"SELECT delivery_id FROM deliveries {chosen} AND object_key < {{key:String}}", parameters
    )
    naming = database.query(
        f"SELECT 1 AS named FROM instances {chosen} AND object_key = {{key:String}} LIMIT 1",
        parameters,
    )
    return not naming and {delivery for delivery, _ in own} <= {
        str(row["delivery_id"]) for row in smaller
    }
