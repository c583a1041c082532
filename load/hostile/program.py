"""The process that hostile peers act in, and the one that tells it what to do.

Invariant: a process of its own, so that the good sender and the hostile ones share no
interpreter; it ends when its input does, so it outlives nobody.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from contracts.failures import FatalError
from load.hostile.catalogue import HOSTILE
from load.hostile.crowd import STOP_WITHIN_S, Crowd
from load.hostile.peer import Door
from operations.context import CHECKOUT

_READY = "ready"


@dataclass(frozen=True, slots=True)
class Acted:
    """What a crowd did in its bouts, and the CPU seconds that this took the hostile process."""

    turns: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0

    def __add__(self, other: Acted) -> Acted:
        return Acted(self.turns + other.turns, self.faults + other.faults, self.cpu_s + other.cpu_s)


class HostileProcess:
    """The other side of `main`. Used by one thread."""

    def __init__(self, port: int, called_ae_title: str, seed: int) -> None:
        command = [sys.executable, "-m", __name__, str(port), called_ae_title, str(seed)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT,
            # A group of its own: Ctrl-C ends the measurement, which then ends this in order.
            process_group=0,
        )  # fmt: skip
        self._times = psutil.Process(self._process.pid)
        self._hear()

    @property
    def is_alive(self) -> bool:
        """Whether it was not ended yet."""
        return self._process.returncode is None

    def start(self, key: str) -> None:
        """The peer of `key` acts from now on, until `stop`."""
        self._cpu_s = self._used_cpu_s()
        self._say(key)

    def stop(self) -> Acted:
        """It acts no more, and all of its connections are closed."""
        deeds = json.loads(self._say(""))
        cpu_s = self._used_cpu_s() - self._cpu_s
        return Acted(deeds["turns"], Counter(deeds["faults"]), cpu_s)

    def end(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _say(self, line: str) -> str:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended: hearing nothing tells
        return self._hear()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise FatalError("the process of the hostile peers ended", "read its lines on stderr")
        return line

    def _used_cpu_s(self) -> float:
        times = self._times.cpu_times()
        return float(times.user + times.system)


@contextmanager
def hostile_process(port: int, called_ae_title: str, seed: int) -> Iterator[HostileProcess]:
    """A process whose peers visit `port`, until the block ends."""
    process = HostileProcess(port, called_ae_title, seed)
    try:
        yield process
    finally:
        process.end()


def main(arguments: list[str]) -> None:
    """A key on a line begins, an empty line ends and is answered by what was done, as JSON."""
    door = Door(int(arguments[0]), arguments[1])
    crowd: Crowd | None = None
    _answer(_READY)
    try:
        for bout, line in enumerate(sys.stdin):
            if key := line.strip():
                crowd = Crowd(HOSTILE[key], door, int(arguments[2]) + bout)
                crowd.start()
                _answer(_READY)
            elif crowd is not None:
                deeds, crowd = crowd.stop(), None
                _answer(json.dumps({"turns": deeds.turns, "faults": deeds.faults}))
    finally:
        if crowd is not None:
            crowd.stop()


def _answer(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    # Acting is a matter of milliseconds: threads that share this interpreter switch as often.
    sys.setswitchinterval(0.001)
    main(sys.argv[1:])
