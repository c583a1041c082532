"""Several of one hostile peer at the same time, from `start` to `stop`.

Invariant: after `stop` no thread of it acts and no connection of it is open; turns and time are
bounded, also where nobody stops it.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from load.hostile.peer import Door, HostilePeer, Visit, take_turn

TURNS_MAX = 100_000
SECONDS_MAX = 120.0
# A thread may be in a connect or a TLS handshake, which has the socket's time-out; and the machine
# may have others to serve.
STOP_WITHIN_S = 60.0


@dataclass(slots=True)
class Deeds:
    """What a crowd did: turns begun, and by name the faults that ended some (cut off, late)."""

    turns: int = 0
    faults: Counter[str] = field(default_factory=Counter)


class Crowd:
    """One use: `start`, `stop`. Every thread's randomness comes from the seed."""

    def __init__(self, peer: HostilePeer, door: Door, seed: int) -> None:
        self._peer, self._door, self._seed = peer, door, seed
        self._deadline = time.monotonic() + SECONDS_MAX
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[int, Visit] = {}
        self._deeds = Deeds()
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"hostile-{number}")
            for number in range(peer.threads)
        ]

    def start(self) -> None:
        """They act from now on."""
        for thread in self._threads:
            thread.start()

    @property
    def turns(self) -> int:
        """Turns begun so far; the acts of the peer come in their order."""
        with self._lock:
            return self._deeds.turns

    def stop(self) -> Deeds:
        """Ends every visit, waits for the threads and tells what was done.

        Raises TimeoutError where one does not end.
        """
        self._stopping.set()
        with self._lock:
            for visit in self._open.values():
                visit.leave()
        deadline = time.monotonic() + STOP_WITHIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise TimeoutError(f"{self._peer.key} does not stop")
        return self._deeds

    def _work(self, number: int) -> None:
        interval_s = 1.0 / self._peer.turns_per_s_max
        for turn in range(number, TURNS_MAX, self._peer.threads):
            began = time.monotonic()
            if self._stopping.is_set() or began >= self._deadline:
                return
            self._turn(number, turn)
            self._stopping.wait(max(0.0, began + interval_s - time.monotonic()))

    def _turn(self, number: int, turn: int) -> None:
        generator = random.Random(f"{self._seed}-{self._peer.key}-{number}-{turn}")
        visit = Visit(self._door, self._deadline, generator)
        with self._lock:
            self._open[number] = visit
            self._deeds.turns += 1
        if self._stopping.is_set():
            visit.leave()
        fault = take_turn(self._peer, turn, visit)
        with self._lock:
            del self._open[number]
            # Being ended by us is no fault of the gateway.
            if fault and not self._stopping.is_set():
                self._deeds.faults[fault] += 1
