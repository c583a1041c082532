"""Which functions a process spends its time in, while it is under load.

Invariant: processes are looked at from outside by a sampler and never changed; one that cannot be
looked at is named with the reason. It must not load anything itself.

The sampler is py-spy (MIT licence, a wheel with one static binary): it attaches by process id,
needs nothing in the process, and at 100 samples a second takes under a hundredth of a core. The
deterministic cProfile was turned down: it must be inside the process from its start, and its cost
for each call makes small functions look dear. What runs outside the interpreter (a hash, a system
call, ClickHouse's own threads) counts for the Python function that called it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from load.report.model import Section, Table

SAMPLER = "py-spy"
SAMPLES_PER_S = 100
SECONDS_MAX = 120.0
FUNCTIONS_MAX = 25
_STOP_AFTER_S = 20.0
NEVER_BUSY = "never busy"
# The sampler takes a thread that has just entered or left such a call for a busy one: in a
# forwarder that was half of all samples.
_WAITS = (
    *("EpollSelector.select", "_PollLikeSelector.select", "PollSelector.select"),
    *("SelectSelector.select", "Condition.wait", "Event.wait", "Thread._wait_for_tstate_lock"),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """One process: samples by function, alone and with what it calls; or why there are none."""

    process: str
    samples: int
    alone: Mapping[str, int]
    with_calls: Mapping[str, int]
    problem: str = ""
    waiting: int = 0


def sampler() -> Path | None:
    """The sampler's program: beside this Python or on the path; None when it is not installed."""
    beside = Path(sys.executable).parent / SAMPLER
    if beside.is_file():
        return beside
    found = shutil.which(SAMPLER)
    return Path(found) if found else None


def sampler_version() -> str:
    """Its version, or that it is not installed."""
    program = sampler()
    if program is None:
        return "not installed"
    told = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=_STOP_AFTER_S, check=False
    )
    return told.stdout.split()[-1] if told.stdout.split() else "unknown"


def profiles(pids: Mapping[str, int], seconds: float, directory: Path) -> tuple[Profile, ...]:
    """All processes (by name) sampled at once for `seconds`; the caller sees to the load."""
    assert 0 < seconds <= SECONDS_MAX, "bounded by its callers"
    program = sampler()
    if program is None:
        return tuple(_failed(name, f"{SAMPLER} is not installed") for name in pids)
    directory.mkdir(parents=True, exist_ok=True)
    running = {
        name: _start(program, pid, seconds, directory / f"{name}.raw") for name, pid in pids.items()
    }
    try:
        return tuple(
            _finished(name, process, directory / f"{name}.raw", seconds)
            for name, process in running.items()
        )
    finally:
        for process in running.values():
            if process.poll() is None:
                process.kill()
                process.wait()


def parse_stacks(text: str) -> tuple[Counter[str], Counter[str], int]:
    """Samples by innermost function, by every function on the stack, and those that only waited.

    `text` has lines "a;b;c 12".
    """
    alone: Counter[str] = Counter()
    with_calls: Counter[str] = Counter()
    waiting = 0
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        if not stack or not count.isdigit():
            continue
        frames = stack.split(";")
        if frames[-1].startswith(_WAITS):
            waiting += int(count)
            continue
        alone[frames[-1]] += int(count)
        # Once each, however deep a recursion.
        for frame in set(frames):
            with_calls[frame] += int(count)
    return alone, with_calls, waiting


def profile_section(found: tuple[Profile, ...], seconds: float) -> Section:
    """A table for each process, the busiest first."""
    ordered = sorted(found, key=lambda one: -one.samples)
    return Section(
        "Profile",
        f"{SAMPLES_PER_S} samples a second for {seconds:.0f} s of every thread that was not"
        " waiting. 'Alone' is time in the function itself and in what it calls outside Python,"
        " 'with calls' includes the Python functions below it.",
        tables=tuple(_table(one, seconds) for one in ordered),
    )


def _table(found: Profile, seconds: float) -> Table:
    rows = tuple(
        (
            function,
            f"{count / found.samples:.1%}",
            f"{found.with_calls[function] / found.samples:.1%}",
        )
        for function, count in Counter(found.alone).most_common(FUNCTIONS_MAX)
    )
    busy = found.samples / SAMPLES_PER_S / seconds
    note = found.problem or (
        f"{found.samples:,} samples: {busy:.2f} threads busy at a time; {found.waiting:,} more"
        " were in a wait"
    )
    return Table(found.process, ("function", "alone", "with calls"), rows, note)


def _start(program: Path, pid: int, seconds: float, output: Path) -> subprocess.Popen[str]:
    command = [
        *(str(program), "record", "--pid", str(pid), "--format", "raw", "--function"),
        *("--rate", str(SAMPLES_PER_S), "--duration", str(round(seconds)), "--nonblocking"),
        *("--output", str(output)),
    ]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def _finished(name: str, process: subprocess.Popen[str], output: Path, seconds: float) -> Profile:
    try:
        _, said = process.communicate(timeout=seconds + _STOP_AFTER_S)
    except subprocess.TimeoutExpired:
        return _failed(name, f"{SAMPLER} did not end")
    if process.returncode != 0 or not output.exists():
        # The cause stands first; what follows is where in the sampler it was met.
        words = said.strip().splitlines()
        return _failed(name, words[0] if words else f"{SAMPLER}: {process.returncode}")
    alone, with_calls, waiting = parse_stacks(output.read_text(errors="replace"))
    samples = sum(alone.values())
    problem = "" if samples else NEVER_BUSY
    return Profile(name, samples, alone, with_calls, problem, waiting)


def _failed(name: str, problem: str) -> Profile:
    return Profile(name, 0, {}, {}, problem)
