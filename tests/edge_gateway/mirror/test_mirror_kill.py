"""kill -9 of the mirror's follower under load: what it confirmed is on the second disk."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edge_gateway.confirmation import Confirmations
from edge_gateway.levels import MIRROR_SOCKET_NAME, Level, Question
from edge_gateway.spool import Spool
from tests.edge_gateway.spool.record_checker import RecordChecker
from tests.edge_gateway.spool.workload import (
    SMALL_SEGMENTS,
    contents,
    eventually,
    opened,
    receipt,
    store,
)

ROOT = Path(__file__).resolve().parents[3]
KILLS, KILLS_LONG = 10, 300
ASSOCIATIONS = 4
SIZES_BYTES = (100, 700, 3000, 8000, 20_000, 70_000)
RUN_S = (0.02, 0.35)
SEED = 20261127
# A question outlives several lives of the follower: the next one is asked again.
WITHIN_MS = 600_000


def test_a_killed_follower_loses_nothing_it_confirmed(tmp_path: Path) -> None:
    _kill_again_and_again(tmp_path, KILLS, SEED)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_three_hundred_kills_lose_nothing_confirmed(tmp_path: Path) -> None:
    _kill_again_and_again(tmp_path, KILLS_LONG, random.SystemRandom().randrange(2**31))


def _kill_again_and_again(directory: Path, kills: int, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    first, second = directory / "first", directory / "second"
    checker = RecordChecker(second)
    with Spool.open(first, "north", SMALL_SEGMENTS) as spool, _Load(spool, first) as load:
        followers = _Followers(first, second)
        with followers:
            for _ in range(kills):
                followers.begin()
                load.await_another()
                # Work at random places of which some end in a kill.
                time.sleep(chance.uniform(*RUN_S))
                followers.kill()
                confirmed = set(load.confirmed)
                checker.read()
                assert confirmed <= checker.deliveries
            load.ask_for_the_end()
            followers.begin()
            load.join()
            followers.kill()
        checker.read()
        confirmed = set(load.confirmed)
    found = contents(second)
    print(f"{kills} kills, {len(confirmed)} confirmed, {checker.bodies_checked} bodies checked")
    assert not found.damaged and not found.rotten and not found.gone
    assert len(confirmed) > kills and confirmed <= checker.deliveries


class _Followers:
    """One follower after the other, each killed with SIGKILL."""

    def __init__(self, first: Path, second: Path) -> None:
        module = "tests.edge_gateway.mirror.killed_follower"
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", module, str(first), str(second)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._pid = 0

    def __enter__(self) -> _Followers:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._nursery.kill()
        self._nursery.communicate()

    def begin(self) -> None:
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(b"\n")
        self._nursery.stdin.flush()
        self._pid = int(self._line().removeprefix(b"pid "))

    def kill(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._pid = 0
            assert self._line() == b"ended\n"

    def _line(self) -> bytes:
        assert self._nursery.stdout is not None
        return self._nursery.stdout.readline()


class _Load:
    """Associations that store and wait for the mirror, until asked to end."""

    def __init__(self, spool: Spool, first: Path) -> None:
        self.confirmed: list[str] = []
        self._spool = spool
        self._ending = threading.Event()
        self._confirmations = Confirmations(first, MIRROR_SOCKET_NAME)
        self._threads = [
            threading.Thread(target=self._associate, args=(f"association-{number}",))
            for number in range(ASSOCIATIONS)
        ]

    def __enter__(self) -> _Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ask_for_the_end()
        self._confirmations.stop()
        self.join()

    def await_another(self) -> None:
        """Returns when one more is confirmed."""
        before = len(self.confirmed)
        eventually(lambda: len(self.confirmed) > before, "confirmed")

    def ask_for_the_end(self) -> None:
        self._ending.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _associate(self, name: str) -> None:
        self._spool.association_opened(opened(name))
        chance = random.Random(name)
        while not self._ending.is_set():
            delivery = store(self._spool, chance.choice(SIZES_BYTES), name)
            question = Question(
                delivery.delivery_id, delivery.content_sha256, Level.MIRROR, WITHIN_MS
            )
            if self._confirmations.is_reached(question):
                self.confirmed.append(delivery.delivery_id)
            self._spool.append_receipt(receipt(delivery))
