"""Which deliveries of a batch go into which pack.

Invariant: a pack holds one study and one area, in ascending delivery_id and each delivery once,
so that the same batch always gives the same packs. Pure: it reads nothing but the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil

from consumers.spec import Record
from contracts.events import Area, InstanceReceived
from contracts.identity import is_uid
from contracts.packs import MEMBERS_MAX

MIB = 1024 * 1024
# What a batch has of a study is stored in packs of half of it at least: one is gathered while
# others are on their way, in a memory that does not grow with the study.
PACK_BYTES_MAX = 64 * MIB
# Tar header, Part-10 head and padding, and what the manifest has beside the header's text.
MEMBER_OVERHEAD_BYTES = 4 * 1024

Received = Record[InstanceReceived]


def pack_groups(batch: Iterable[Received]) -> Iterator[tuple[Area, list[Received]]]:
    """The packs of a batch: one study and area each, by delivery_id.

    A pack has MEMBERS_MAX members at most, and PACK_BYTES_MAX but for a single larger member.

    A delivery that comes twice counts once, as its newest record tells it. Without a valid Study
    Instance UID a delivery is a pack of its own. Packs come in the order in which their payload
    lies in the log, which is how the payload reader is fastest.
    """
    newest = {record.event.delivery_id: record for record in batch}
    groups: dict[tuple[Area, str], list[Received]] = {}
    for delivery_id, record in sorted(newest.items()):
        study = record.event.content.study_instance_uid
        area = Area.PACKS if record.event.quarantine_reason is None else Area.QUARANTINE
        name = study if is_uid(study) else f"delivery {delivery_id}"
        groups.setdefault((area, name), []).append(record)
    for (area, _), group in sorted(groups.items(), key=lambda item: _payload_place(item[1][0])):
        for part in _parts(group):
            yield area, part


def memory_bytes(record: Received) -> int:
    """What a member may take of a pack at most: its data set, its heads, its manifest entry."""
    return record.event.size_bytes + len(record.event.header) + MEMBER_OVERHEAD_BYTES


def _parts(group: Sequence[Received]) -> Iterator[list[Received]]:
    """A study's records in parts of about the same size, so that none of them is a small rest."""
    total_bytes = sum(map(memory_bytes, group))
    enough_bytes = total_bytes / max(1, ceil(total_bytes / PACK_BYTES_MAX))
    part: list[Received] = []
    held_bytes = 0
    for record in group:
        size = memory_bytes(record)
        is_over = held_bytes >= enough_bytes or held_bytes + size > PACK_BYTES_MAX
        if part and (is_over or len(part) == MEMBERS_MAX):
            yield part
            part, held_bytes = [], 0
        part.append(record)
        held_bytes += size
    yield part


def _payload_place(record: Received) -> tuple[int, int, str]:
    event = record.event
    offsets = event.payload_offsets or (-1,)
    return (event.payload_partition or 0, offsets[0], event.delivery_id)
