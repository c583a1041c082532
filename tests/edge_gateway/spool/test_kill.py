"""kill -9 of a real receiver under load, again and again, with a forwarder beside it."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from edge_gateway.spool import (
    AssociationClosed,
    AssociationOpened,
    Receipt,
    Spool,
    SpooledDelivery,
    SpoolReader,
    SpoolRecord,
    SpoolReleaser,
)
from tests.edge_gateway.spool.workload import SMALL_SEGMENTS, data_set

ROOT = Path(__file__).resolve().parents[3]
KILLS = 12
RUN_S = (0.02, 0.35)
SEED = 20260301


def test_killed_receiver_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    forwarder = _Forwarder(tmp_path)
    acknowledged: set[str] = set()
    for _ in range(KILLS):
        acknowledged |= _run_and_kill(tmp_path, forwarder, chance.uniform(*RUN_S))
        if chance.random() < 0.5:
            forwarder.release_all_sealed()
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        assert not spool.recovery.damaged
        forwarder.follow()
    print(f"seed {SEED}: {len(acknowledged)} acknowledged, {len(forwarder.deliveries)} durable")
    assert len(acknowledged) > KILLS
    assert acknowledged <= forwarder.deliveries
    assert forwarder.opened == forwarder.closed
    assert forwarder.deliveries == forwarder.answered
    # At most what was in flight at a kill is durable without an acknowledgement.
    assert len(forwarder.deliveries - acknowledged) <= KILLS * 6
    assert not list((tmp_path / "objects").glob("*.part"))


def _run_and_kill(directory: Path, forwarder: _Forwarder, run_s: float) -> set[str]:
    module = "tests.edge_gateway.spool.killed_receiver"
    receiver = subprocess.Popen(
        [sys.executable, "-m", module, str(directory)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert receiver.stdout is not None
    # Two: so that all kills together come upon more than what was first.
    first = receiver.stdout.readline() + receiver.stdout.readline()
    until_s = time.monotonic() + run_s
    while time.monotonic() < until_s:
        forwarder.follow()
    receiver.kill()
    told, _ = receiver.communicate()
    return set((first + told).decode().split())


class _Forwarder:
    """One reader over all kills: sees every record exactly once, and every byte as it was sent."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reader = SpoolReader(directory)
        self._sequence = 0
        self.deliveries: set[str] = set()
        self.answered: set[str] = set()
        self.opened: set[str] = set()
        self.closed: set[str] = set()

    def follow(self) -> None:
        while records := self._reader.poll(50):
            for record in records:
                self._take(record)

    def release_all_sealed(self) -> None:
        self.follow()
        live = self._reader.position.segment_number
        with SpoolReleaser(self._directory) as releaser:
            for number in self._reader.segment_numbers():
                if number < live:
                    releaser.release_segment(number)

    def _take(self, record: SpoolRecord) -> None:
        entry = record.entry
        assert record.location.sequence > self._sequence
        self._sequence = record.location.sequence
        match entry:
            case SpooledDelivery():
                assert entry.delivery_id not in self.deliveries
                self.deliveries.add(entry.delivery_id)
                with self._reader.open_body(entry, record.location) as body:
                    data = b"".join(body.chunks(4096))
                assert data == data_set(entry.delivery_id, entry.size_bytes)
            case Receipt():
                assert entry.delivery_id not in self.answered
                assert entry.delivery_id is not None
                self.answered.add(entry.delivery_id)
            case AssociationOpened():
                self.opened.add(entry.association_id)
            case AssociationClosed():
                self.closed.add(entry.association_id)
