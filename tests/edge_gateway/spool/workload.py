"""Synthetic deliveries for the spool's tests, and the reading back of a whole spool.

Invariant: the bytes of a delivery follow from its delivery_id and length alone, so a test can say
of any recovered body whether it is what was sent. No patient data.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edge_gateway.spool import (
    AssociationClosed,
    AssociationOpened,
    DeliveryFacts,
    FileSystem,
    Receipt,
    Spool,
    SpoolCorrupt,
    SpooledDelivery,
    SpoolEntryGone,
    SpoolLimits,
    SpoolReader,
    SpoolRecord,
)
from edge_gateway.spool.layout import SpoolLayout

NOW = datetime(2026, 3, 1, 12, 30, 45, 123457, tzinfo=UTC)
# A machine that does other things as well keeps a thread or a flush waiting for many seconds.
DEADLINE_S = 120.0
SMALL_SEGMENTS = SpoolLimits(
    segment_bytes=64 * 1024,
    object_in_memory_bytes_max=8 * 1024,
    memory_bytes_max=64 * 1024,
    hashed_late_from_bytes=4 * 1024,
    spool_bytes_max=1 << 30,
    free_bytes_min=0,
    commit_wait_ms=60_000,
)


def new_id() -> str:
    return str(uuid.uuid4())


def facts(association_id: str = "association-1", delivery_id: str | None = None) -> DeliveryFacts:
    return DeliveryFacts(
        delivery_id=delivery_id or new_id(),
        association_id=association_id,
        calling_ae_title="MODALITY",
        called_ae_title="NORTH",
        peer_address="127.0.0.1",
        peer_implementation_class_uid="1.2.826.0.1.3680043.8.498.1",
        peer_implementation_version_name="SYNTHETIC",
        received_at=NOW,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid="1.2.826.0.1.3680043.8.498.7",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )


def opened(association_id: str = "association-1") -> AssociationOpened:
    return AssociationOpened(
        association_id=association_id,
        calling_ae_title="MODALITY",
        called_ae_title="NORTH",
        peer_address="127.0.0.1",
        peer_implementation_class_uid="1.2.826.0.1.3680043.8.498.1",
        peer_implementation_version_name="SYNTHETIC",
        opened_at=NOW,
    )


def receipt(delivery: SpooledDelivery, status: int = 0x0000) -> Receipt:
    return Receipt(
        association_id=delivery.association_id,
        delivery_id=delivery.delivery_id,
        sop_instance_uid=delivery.sop_instance_uid,
        content_sha256=delivery.content_sha256,
        status=status,
        answered_at=NOW,
    )


def data_set(delivery_id: str, size_bytes: int) -> bytes:
    block = hashlib.sha512(delivery_id.encode()).digest()
    return (block * (size_bytes // len(block) + 1))[:size_bytes]


def store(spool: Spool, size_bytes: int, association_id: str = "association-1") -> SpooledDelivery:
    """One data set, in fragments as a peer sends them, committed."""
    described = facts(association_id)
    with spool.begin(described) as sink:
        data = memoryview(data_set(described.delivery_id, size_bytes))
        for offset in range(0, size_bytes, 3000):
            sink.write(data[offset : offset + 3000])
        return sink.commit()


@dataclass
class Contents:
    """All that a spool gives to its reader."""

    deliveries: dict[str, SpooledDelivery] = field(default_factory=dict)
    records: dict[str, SpoolRecord] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    opened: list[AssociationOpened] = field(default_factory=list)
    closed: list[AssociationClosed] = field(default_factory=list)
    # deliveries whose bytes are said to be gone or rotten, and places that rotted in the log
    gone: set[str] = field(default_factory=set)
    rotten: set[str] = field(default_factory=set)
    damaged: int = 0


def contents(directory: Path, fs: FileSystem | None = None) -> Contents:
    """Reads everything, verifies every body and compares it with what was sent."""
    found = Contents()
    reader = SpoolReader(directory, fs=fs)
    try:
        for record in [*_all_records(reader, found), *reader.remnants()]:
            _take(reader, record, found)
    finally:
        reader.close()
    return found


def _all_records(reader: SpoolReader, found: Contents) -> Iterator[SpoolRecord]:
    while True:
        try:
            records = reader.poll(100)
        except SpoolCorrupt:
            found.damaged += 1
            reader.skip_damaged()
            continue
        if not records:
            return
        yield from records


def _take(reader: SpoolReader, record: SpoolRecord, found: Contents) -> None:
    entry = record.entry
    match entry:
        case Receipt():
            found.receipts.append(entry)
        case AssociationOpened():
            found.opened.append(entry)
        case AssociationClosed():
            found.closed.append(entry)
        case SpooledDelivery():
            found.deliveries[entry.delivery_id] = entry
            found.records[entry.delivery_id] = record
            try:
                with reader.open_body(entry, record.location) as body:
                    data = b"".join(bytes(chunk) for chunk in body.chunks(1000))
            except SpoolEntryGone:
                found.gone.add(entry.delivery_id)
            except SpoolCorrupt:
                found.rotten.add(entry.delivery_id)
            else:
                assert data == data_set(entry.delivery_id, entry.size_bytes)
                assert hashlib.sha256(data).hexdigest() == entry.content_sha256


def drain(reader: SpoolReader) -> list[SpoolRecord]:
    records: list[SpoolRecord] = []
    while more := reader.poll(7):
        records += more
    return records


def deliveries_of(records: list[SpoolRecord]) -> list[str]:
    entries = [record.entry for record in records]
    return [e.delivery_id for e in entries if isinstance(e, SpooledDelivery)]


def eventually(is_so: Callable[[], bool], what: str) -> None:
    """Polls with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.005)


def await_segment_ahead(spool: Spool) -> None:
    """Returns when the thread that lays out segments rests: no flush, name or room is its own."""
    eventually(lambda: bool(spool._parts.supply._ready), "one segment ahead")


def copy_as_killed(spool: Spool, directory: Path, target: Path) -> Path:
    """The directory as a kill -9 of its receiver at this moment would leave it."""
    # A copy takes a while, in which a name that is passing would be there for its beginning only.
    await_segment_ahead(spool)
    shutil.copytree(directory, target)
    return target


def flip(directory: Path, offset_bytes: int, number: int = 1) -> None:
    """One bit of a segment rots."""
    path = SpoolLayout(directory).segment(number)
    content = bytearray(path.read_bytes())
    content[offset_bytes] ^= 1
    path.write_bytes(content)
