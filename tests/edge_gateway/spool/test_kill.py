"""kill -9 of a real receiver under load, again and again, with a forwarder beside it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

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
from tests.edge_gateway.spool.record_checker import RecordChecker
from tests.edge_gateway.spool.workload import SMALL_SEGMENTS, data_set

ROOT = Path(__file__).resolve().parents[3]
KILLS, KILLS_LONG = 12, 500
RUN_S = (0.02, 0.35)
# One life in so many ends while the spool is being opened, before anything is acknowledged.
EARLY_EVERY = 8
EARLY_S = 0.05
SEED = 20260301


def test_killed_receiver_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    _kill_again_and_again(tmp_path, KILLS, SEED)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_five_hundred_kills_lose_nothing_acknowledged(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = random.SystemRandom().randrange(2**31)
    record_property("seed", seed)
    record_property("figure", _kill_again_and_again(tmp_path, KILLS_LONG, seed))


def _kill_again_and_again(directory: Path, kills: int, seed: int) -> str:
    print(f"seed {seed}")
    chance, started = random.Random(seed), time.monotonic()
    forwarder, checker = _Forwarder(directory), RecordChecker(directory)
    acknowledged: set[str] = set()
    with _Receivers(directory) as receivers:
        for number in range(1, kills + 1):
            is_early = number % EARLY_EVERY == 0
            run_s = chance.uniform(0, EARLY_S) if is_early else chance.uniform(*RUN_S)
            acknowledged |= receivers.live_and_die(forwarder, run_s, is_early)
            # On the disk as the kill left it, before any recovery.
            checker.read()
            assert acknowledged <= checker.deliveries
            if chance.random() < 0.5:
                forwarder.release_all_sealed()
    with Spool.open(directory, "north", SMALL_SEGMENTS) as spool:
        assert not spool.recovery.damaged
        forwarder.follow()
    figure = (
        f"{kills} kills in {time.monotonic() - started:.0f} s, {len(acknowledged)} acknowledged,"
        f" {len(acknowledged - checker.deliveries)} lost, {len(forwarder.deliveries)} durable,"
        f" {checker.bodies_checked} bodies read from the disk by the independent checker"
    )
    print(figure)
    assert len(acknowledged) > kills
    assert acknowledged <= forwarder.deliveries <= checker.deliveries
    assert forwarder.opened == forwarder.closed
    assert forwarder.deliveries == forwarder.answered
    # At most what was in flight at a kill is durable without an acknowledgement.
    assert len(forwarder.deliveries - acknowledged) <= kills * 6
    assert not list((directory / "objects").glob("*.part"))
    return figure


class _Receivers:
    """One receiver after the other, each killed with SIGKILL."""

    def __init__(self, directory: Path) -> None:
        module = "tests.edge_gateway.spool.killed_receiver"
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", module, str(directory)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> _Receivers:
        return self

    def __exit__(self, *_: object) -> None:
        self._nursery.kill()
        self._nursery.communicate()

    def live_and_die(self, forwarder: _Forwarder, run_s: float, is_early: bool) -> set[str]:
        """What a receiver acknowledged; it is killed `run_s` after its second acknowledgement,
        or after its start.
        """
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(b"next\n")
        self._nursery.stdin.flush()
        told: list[str] = []
        pid = int(self._line().removeprefix("pid "))
        if not is_early:
            # Two: so that all kills together come upon more than what was first.
            told += [self._line(), self._line()]
        until_s = time.monotonic() + run_s
        while time.monotonic() < until_s:
            forwarder.follow()
        os.kill(pid, signal.SIGKILL)
        while (line := self._line()) != "ended":
            told.append(line)
        return set(told)

    def _line(self) -> str:
        assert self._nursery.stdout is not None
        line = self._nursery.stdout.readline().decode()
        assert line.endswith("\n"), "the receivers' parent ended"
        return line.strip()


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
        self._in_segment: dict[int, list[str]] = {}

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
                    for delivery_id in self._in_segment.pop(number, []):
                        releaser.purge(delivery_id)
                    releaser.release_segment(number)

    def _take(self, record: SpoolRecord) -> None:
        entry = record.entry
        assert record.location.sequence > self._sequence
        self._sequence = record.location.sequence
        match entry:
            case SpooledDelivery():
                assert entry.delivery_id not in self.deliveries
                self.deliveries.add(entry.delivery_id)
                here = record.location.segment_number
                self._in_segment.setdefault(here, []).append(entry.delivery_id)
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
