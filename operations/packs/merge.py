"""`hilum packs merge`: many small packs of a study become few, which hold all that they held.

Invariant: a merged pack is announced only after it was read back and hashed whole, and it has
every delivery of the packs it replaces, each with its bytes. Its key is smaller than theirs, so
the index moves to it by its own rule. Nothing is taken away here: `collect` does that, by its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile

from consumers.announce import Announcer
from consumers.pack_buffers import PackBuffers
from consumers.pack_groups import PACK_BYTES_MAX
from consumers.part10 import part10_head
from contracts.events import Area, InstanceReceived
from contracts.failures import PoisonError, RetryableError
from contracts.packs import ARCHIVED_AT_METADATA, MEMBERS_MAX, NoKeyBelowError, PackAssembly
from infra.connect import Engines
from infra.seams import ObjectStore
from operations.packs.adopt import announce_packs, check_pack
from operations.packs.survey import NamedPack, named_packs, superfluous
from operations.packs.whole import check_whole, sha256_of_key

# Above it a pack is read as fast as any (ADR 2), and its bytes are not worth being moved.
SMALL_BYTES_MAX = PACK_BYTES_MAX // 2

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """Whose packs: those of `studies`, or of all; how many are worth it, and how long at rest.

    Once `goes_on` is false no further pack is begun.
    """

    studies: Collection[str] = ()
    packs_min: int = 4
    idle: timedelta = timedelta(hours=24)
    is_applied: bool = False
    goes_on: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class Merge:
    """Packs that become one; `object_key` is '' before it was made."""

    study_instance_uid: str
    replaces: tuple[str, ...]
    deliveries: int
    size_bytes: int
    object_key: str = ""


@dataclass(frozen=True, slots=True)
class Merged:
    """The keys of `hilum packs merge --json`; `failed` has a line for each that was not made."""

    ok: bool
    is_applied: bool
    merges: tuple[Merge, ...]
    failed: tuple[str, ...]


def merge(engines: Engines, options: MergeOptions, tell: Tell = lambda text: None) -> Merged:
    """What would be merged; applied, it is stored, read back and announced on return.

    Raises RetryableError, FatalError: what had to be done before is done, the rest is not begun.
    """
    merges: list[Merge] = []
    failed: list[str] = []
    announcer = Announcer(engines.publisher, engines.clock)
    for sources in takewhile(lambda _: options.goes_on(), _bins(engines, options)):
        planned = Merge(
            sources[0].study_instance_uid,
            tuple(source.key for source in sources),
            len({delivery for source in sources for delivery in source.deliveries}),
            sum(source.size_bytes for source in sources),
        )
        if not options.is_applied:
            merges.append(planned)
            continue
        try:
            merges.append(_apply(engines, announcer, sources, planned))
            tell(f"merged {len(sources)} packs of {sources[0].uid}")
        except _NotMergedError as cause:
            failed.append(str(cause))
    return Merged(not failed, options.is_applied, tuple(merges), tuple(failed))


class _NotMergedError(Exception):
    """These packs stay as they are; the text names one and says why."""


def _bins(engines: Engines, options: MergeOptions) -> Iterator[list[NamedPack]]:
    """Packs that become one each: of one study, small, at rest, and none that others hold whole."""
    rested_at = engines.clock.now() - options.idle
    for group in named_packs(engines, options.studies):
        held = {one.pack.key for one in superfluous(group)}
        packs = [
            pack
            for pack in group
            if pack.is_at_primary
            and pack.key not in held
            and pack.study_instance_uid
            and pack.area is Area.PACKS
            and pack.size_bytes <= SMALL_BYTES_MAX
        ]
        if all(pack.archived_at <= rested_at for pack in packs):
            yield from (part for part in _parts(packs) if len(part) >= max(2, options.packs_min))


def _parts(packs: Sequence[NamedPack]) -> Iterator[list[NamedPack]]:
    """In the order in which they were archived, as many together as one pack may hold."""
    part: list[NamedPack] = []
    for pack in sorted(packs, key=lambda pack: (pack.archived_at, pack.key)):
        size = sum(one.size_bytes for one in part) + pack.size_bytes
        members = sum(len(one.deliveries) for one in part) + len(pack.deliveries)
        if part and (size > PACK_BYTES_MAX or members > MEMBERS_MAX):
            yield part
            part = []
        part.append(pack)
    if part:
        yield part


def _apply(
    engines: Engines, announcer: Announcer, sources: Sequence[NamedPack], planned: Merge
) -> Merge:
    """Raises _NotMergedError, RetryableError, FatalError."""
    store = engines.primary.object_store
    file = PackBuffers()
    assembly = PackAssembly(file)
    for event, data in _members(store, sources):
        try:
            assembly.add(event, part10_head(event), [data])
        except PoisonError as cause:
            raise _NotMergedError(f"{sources[0].key}: {cause.reason.value}") from cause
    try:
        pack = assembly.finish(below=min(sha256_of_key(source.key) for source in sources))
    except NoKeyBelowError as cause:
        raise _NotMergedError(f"{sources[0].key}: no key below it was found") from cause
    # Never earlier than any of its members was archived; a repeat says the same.
    archived_at = max(source.archived_at for source in sources)
    key = pack.key(Area.PACKS)
    metadata = {ARCHIVED_AT_METADATA: archived_at.isoformat()}
    try:
        store.put_buffers(key, file.buffers, pack.object_sha256, metadata)
    except PoisonError as cause:
        raise _NotMergedError(f"{sources[0].key}: {cause.detail}") from cause
    checked = check_pack(engines.primary, key)
    if isinstance(checked, str):
        raise RetryableError(f"merging packs: the store gives out other bytes: {checked}")
    announce_packs(announcer, [checked])
    return Merge(
        planned.study_instance_uid,
        planned.replaces,
        len(pack.members),
        pack.size_bytes,
        key,
    )


def _members(
    store: ObjectStore, sources: Sequence[NamedPack]
) -> Iterator[tuple[InstanceReceived, bytes]]:
    """Each delivery once with its data set, in order. Raises _NotMergedError, RetryableError."""
    found: dict[str, tuple[InstanceReceived, bytes]] = {}
    for source in sorted(sources, key=lambda source: source.key):
        try:
            data = b"".join(store.open(source.key))
        except KeyError as cause:
            raise _NotMergedError(f"{source.key}: was listed and is gone") from cause
        whole = check_whole(source.key, [data])
        if whole.faults:
            raise _NotMergedError(whole.faults[0])
        for event, member in zip(whole.events, whole.members, strict=True):
            end = member.offset_bytes + member.length_bytes
            mine = found.setdefault(event.delivery_id, (event, data[end - event.size_bytes : end]))
            if mine[0].content != event.content:
                raise _NotMergedError(f"{source.key}: another content under {event.delivery_id}")
    for delivery_id in sorted(found):
        yield found[delivery_id]
