"""Every limit of the spool by name, and what admission and usage look like from outside.

Invariant: nothing in the spool grows without one of these. Must not touch the disk.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

SEGMENT_BYTES_MIN = 64 * KIB
# A record never takes more than this share of a segment, so rolling over wastes little.
RECORDS_PER_SEGMENT_MIN = 4
# A command set is at most 16 KiB and JSON makes at most six bytes of one.
META_BYTES_MAX = 128 * KIB
BATCH_RECORDS_MAX = 1024
BATCH_BYTES_MAX = 64 * MIB
# How often a step that found no room is tried again: "accepts again within 5 s".
RETRY_DELAY_S = 0.5
# Longest wait for a segment that is still being filled with zeros.
SEGMENT_WAIT_S = 10.0
# Free segments beyond this are given back to the disk instead of being kept for recycling.
FREE_SEGMENTS_MAX = 16
# A watermark below this many segments could never be left again: two are always laid out.
SEGMENTS_MIN = 4
DEFAULT_SPOOL_BYTES_MAX = 200 * 10**9
DEFAULT_FREE_BYTES_MIN = 5 * 10**9


def default_free_bytes_min(disk_bytes: int) -> int:
    """What a receiver keeps free of a disk of that size where no setting says otherwise."""
    return min(DEFAULT_FREE_BYTES_MIN, disk_bytes // 20)


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """What a spool may take. None is chosen from the disk (02-gateway.md "Watermarks").

    An object up to `object_in_memory_bytes_max` (and never more than a quarter of a segment) is
    kept in memory until its commit, as long as all associations together stay below
    `memory_bytes_max`; every other one streams to a file of its own. How long an object will be is
    not known while it arrives: one that has `spilled_from_bytes` stays in memory only while all
    that arrive take no more than `arriving_bytes_max`, so that many large ones at once, whose
    file is only a matter of time, do not each fill the memory of one first.

    An object from `hashed_late_from_bytes` on that is alone in memory is hashed while the disk
    works on it: of less the flush is not much quicker for having begun before.
    """

    segment_bytes: int = 256 * MIB
    object_in_memory_bytes_max: int = 4 * MIB
    memory_bytes_max: int = 256 * MIB
    arriving_bytes_max: int = 4 * MIB
    # Above a CT image of 512 x 512.
    spilled_from_bytes: int = 640 * KIB
    hashed_late_from_bytes: int = 64 * KIB
    object_bytes_max: int = 4 * GIB
    spool_bytes_max: int | None = None
    free_bytes_min: int | None = None
    receipt_delay_ms: int = 100
    commit_wait_ms: int = 30_000
    records_queued_max: int = 10_000
    segments_ahead: int = 1

    @property
    def inline_bytes_max(self) -> int:
        """The largest body that is written into a segment."""
        return min(self.object_in_memory_bytes_max, self.segment_bytes // RECORDS_PER_SEGMENT_MIN)

    @property
    def meta_bytes_max(self) -> int:
        """The largest description of one record."""
        return min(META_BYTES_MAX, self.segment_bytes // RECORDS_PER_SEGMENT_MIN)


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether new associations and objects are welcome; `reason` is '' when they are."""

    accepting: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a spool occupies. `bytes` counts segments and objects, not the free segments."""

    segment_bytes: int
    object_bytes: int
    free_segment_bytes: int
    segments: int
    objects: int
    disk_free_bytes: int
    disk_bytes: int

    @property
    def bytes(self) -> int:
        return self.segment_bytes + self.object_bytes


@dataclass(frozen=True, slots=True)
class SpoolStatistics:
    """Counts since this process opened the spool."""

    flushes: int
    records: int
    deliveries: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What opening found. `damaged` names places whose bytes rotted after they were flushed."""

    records: int
    associations_lost: int
    receipts_added: int
    objects_deleted: int
    damaged: tuple[str, ...]
    elapsed_ms: int
