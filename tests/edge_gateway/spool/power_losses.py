"""Every power loss that a traced run allows, and what has to be found after each of them.

Invariant: what the outside world was told (`Told` in the trace) is the truth that counts.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_gateway.spool import (
    Spool,
    SpooledDelivery,
    SpoolLimits,
    SpoolReader,
    SpoolReleaser,
)
from tests.edge_gateway.spool.tracing import DiskModel, Operation, Told, TracingFileSystem
from tests.edge_gateway.spool.workload import contents, data_set, drain, facts

RECEIVED, ACKNOWLEDGED, SEEN, PURGED = "received", "acknowledged", "seen", "purged"


def check_power_losses(directory: Path, trace: Sequence[Operation], limits: SpoolLimits) -> int:
    """Opens the spool after each power loss; how many there were."""
    checked = 0
    for told, found in _power_losses(trace):
        _lay(directory, found)
        _check(directory, told, limits)
        checked += 1
    print(f"{len(trace)} operations, {checked} power losses")
    return checked


def keep_the_first(directory: Path, fs: TracingFileSystem) -> None:
    """Reads all, keeps the first delivery of each sealed segment, purges the rest of it."""
    reader = SpoolReader(directory, fs=fs)
    records = drain(reader)
    live = reader.position.segment_number
    reader.close()
    deliveries = [(r.entry, r.location) for r in records if isinstance(r.entry, SpooledDelivery)]
    for delivery, _ in deliveries:
        fs.tell(SEEN, delivery.delivery_id)
    with SpoolReleaser(directory, fs=fs) as releaser:
        for number in sorted({location.segment_number for _, location in deliveries} - {live}):
            mine = [d for d in deliveries if d[1].segment_number == number]
            releaser.copy_forward(*mine[0])
            for delivery, _ in mine[1:]:
                fs.tell(PURGED, delivery.delivery_id)
                releaser.purge(delivery.delivery_id)
            releaser.release_segment(number)


def _power_losses(
    trace: Sequence[Operation],
) -> Iterator[tuple[dict[str, set[str]], dict[Path, bytes]]]:
    model = DiskModel()
    told: dict[str, set[str]] = {RECEIVED: set(), ACKNOWLEDGED: set(), SEEN: set(), PURGED: set()}
    known: set[bytes] = set()
    for operation in trace:
        model.apply(operation)
        if isinstance(operation, Told):
            told[operation.what].add(operation.delivery_id)
        for found in model.power_losses():
            summed = hashlib.blake2b(repr(sorted(map(len, told.values()))).encode())
            for path, content in sorted(found.items()):
                summed.update(str(path).encode() + content)
            if summed.digest() not in known:
                known.add(summed.digest())
                yield told, found


def _lay(directory: Path, found: dict[Path, bytes]) -> None:
    if directory.exists():
        shutil.rmtree(directory)
    # make_directory is not traced: an empty directory is made again at each start anyhow.
    for name in ("segments", "free", "objects"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for path, content in found.items():
        path.write_bytes(content)


def _check(directory: Path, told: dict[str, set[str]], limits: SpoolLimits) -> None:
    with Spool.open(directory, "north", limits) as spool:
        assert not spool.recovery.damaged
        after = facts("association-3")
        with spool.begin(after) as sink:
            sink.write(data_set(after.delivery_id, 200))
            sink.commit()
        found = contents(directory)
    recovered = set(found.deliveries)
    assert after.delivery_id in recovered
    assert not found.damaged and not found.rotten
    assert found.gone <= told[PURGED]
    assert told[ACKNOWLEDGED] - told[PURGED] <= recovered
    assert told[SEEN] - told[PURGED] <= recovered
    assert recovered - {after.delivery_id} <= told[RECEIVED]
    assert not list((directory / "objects").glob("*.part"))
    # Whatever may have been answered counts as acknowledged: each has its receipt. (That of a
    # remnant may have gone with its segment; the forwarder has read it by then.)
    in_segments = {i for i, r in found.records.items() if r.location.segment_number}
    with_receipt = {r.delivery_id for r in found.receipts}
    assert in_segments - with_receipt - {after.delivery_id} == set()
