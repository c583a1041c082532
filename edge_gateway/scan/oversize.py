"""How a header too large for its event gives up its largest sequences (named by their hash).

Invariant: what `fit_event` returns fits; the whole header stays in the archived object.
It must not read the data set again once the scan is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zstandard

from edge_gateway.scan.assemble import attribute, bulk_members, json_object, tag_key
from edge_gateway.scan.limits import KIB, EventLimits, HeaderReason
from edge_gateway.scan.source import ByteSource, sha256_hex

if TYPE_CHECKING:
    from edge_gateway.scan.header import ScannedHeader
    from edge_gateway.scan.walk import SequenceExtent

_DEFAULT_LIMITS = EventLimits()
# Below this a header fits whatever zstd makes of it; above, the scan prepares for giving up.
PLAN_FROM_BYTES = 768 * KIB
# Smaller sequences are not worth a hash.
_SEQUENCE_JSON_BYTES_MIN = 4 * KIB
# Each round gives up at least this part of what is there: a handful of compressions, not
# thousands, for a header of many middling sequences.
_ROUND_FRACTION = 4


@dataclass(frozen=True, slots=True)
class SequencePart:
    """A sequence's place in `header_json`, and the attribute object that may stand there."""

    start: int
    stop: int
    replacement: bytes


@dataclass(frozen=True, slots=True)
class OversizePlan:
    """What may be given up: sequences from the largest down; `smallest_json` when all else fails.

    `smallest_json` is an object of the smallest attributes, up to PLAN_FROM_BYTES.
    """

    sequences: tuple[SequencePart, ...]
    smallest_json: bytes


@dataclass(frozen=True, slots=True)
class FittedHeader:
    """A header that fits its event."""

    header_json: bytes
    is_complete: bool
    reason: HeaderReason | None


def plan_oversize(
    fragments: Sequence[bytes],
    sequences: Sequence[SequenceExtent],
    source: ByteSource,
    json_bytes: int,
) -> OversizePlan | None:
    """The plan for a header of `json_bytes`, None where it is small enough anyway.

    Hashes the large sequences' encoded values in one more pass. Raises ScanStop as `source` does.
    """
    if json_bytes <= PLAN_FROM_BYTES:
        return None
    extents = {b"%08X" % extent.tag: extent for extent in sequences}
    parts = []
    start = 1
    for fragment in fragments:
        extent = extents.get(tag_key(fragment))
        if extent is not None and len(fragment) >= _SEQUENCE_JSON_BYTES_MIN:
            sha256 = sha256_hex(source, extent.start, extent.length_bytes)
            members = bulk_members("SQ", sha256, extent.length_bytes)
            parts.append(SequencePart(start, start + len(fragment), attribute(extent.tag, members)))
        start += len(fragment) + 1
    parts.sort(key=_part_bytes, reverse=True)
    return OversizePlan(tuple(parts), json_object(_smallest(fragments)))


def _part_bytes(part: SequencePart) -> int:
    return part.stop - part.start


def _smallest(fragments: Sequence[bytes]) -> list[bytes]:
    kept = []
    room = PLAN_FROM_BYTES - 2
    for fragment in sorted(fragments, key=len):
        room -= len(fragment) + 1
        if room < 0:
            break
        kept.append(fragment)
    return sorted(kept, key=tag_key)


def fit_event(header: ScannedHeader, limits: EventLimits = _DEFAULT_LIMITS) -> FittedHeader:
    """The header as its event can carry it: unchanged, or without its largest sequences.

    A sequence given up is `"vr":"SQ"` with `BulkDataURI` over its encoded value field; then
    `is_complete` is False and the reason `oversize`, unless the scan had one before.
    """
    if _fits(header.header_json, limits):
        return FittedHeader(header.header_json, header.is_complete, header.reason)
    reason = header.reason or HeaderReason.OVERSIZE
    plan = header.oversize
    if plan is None:
        # The scan could not even read it twice; consumers index from the command set.
        return FittedHeader(b"{}", False, reason)
    for count in _rounds(plan.sequences, len(header.header_json)):
        shrunk = _without(header.header_json, plan.sequences[:count])
        if _fits(shrunk, limits):
            return FittedHeader(shrunk, False, reason)
    return FittedHeader(plan.smallest_json, False, reason)


def _fits(header_json: bytes, limits: EventLimits) -> bool:
    if len(header_json) > limits.plain_bytes_max:
        return False
    if len(header_json) <= min(PLAN_FROM_BYTES, limits.compressed_bytes_max):
        return True
    # Level 1: what fits so also fits at the producer's level, which compresses better.
    compressed = zstandard.ZstdCompressor(level=1).compress(header_json)
    return len(compressed) <= limits.compressed_bytes_max


def _rounds(sequences: Sequence[SequencePart], json_bytes: int) -> list[int]:
    """How many of the largest sequences go in each round; the last round takes all."""
    counts = []
    given_up = 0
    threshold = 1
    for count, part in enumerate(sequences, start=1):
        given_up += _part_bytes(part)
        if given_up >= threshold or count == len(sequences):
            counts.append(count)
            threshold = given_up + (json_bytes - given_up) // _ROUND_FRACTION
    return counts


def _without(header_json: bytes, given_up: Sequence[SequencePart]) -> bytes:
    pieces = []
    start = 0
    for part in sorted(given_up, key=lambda part: part.start):
        pieces += [header_json[start : part.start], part.replacement]
        start = part.stop
    return b"".join([*pieces, header_json[start:]])
