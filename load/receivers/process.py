"""A receiver's process: started in a group of its own, waited for, accounted and ended.

Invariant: on return of `end` no process of the group runs, children of a forking server included.
Only processes that were started here are ever signalled.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from contracts.failures import FatalError, RetryableError
from edge_gateway.association.connection import ConnectionLost
from edge_gateway.association.pdu import ProtocolError
from edge_gateway.scu import AssociationRejected, Peer, echo
from load.senders.model import Target
from operations.context import CHECKOUT
from operations.ports import free_ports

READY_WITHIN_S = 180.0
END_WITHIN_S = 15.0
KILL_WITHIN_S = 5.0
ECHO_TIMEOUT_S = 10.0
POLL_S = 0.02
VERSION_TIMEOUT_S = 60.0
LOG_LINES_SHOWN = 12
# Children that end between two looks at them; each look is a millisecond.
CPU_READS_MAX = 20
_SETTINGS_PREFIX = "HILUM__"
_NO_ANSWER = (ConnectionLost, ProtocolError, AssociationRejected, RetryableError, OSError)


class OwnProcess:
    """One started program and its children. `directory` is where it runs and logs."""

    def __init__(self, name: str, command: Sequence[str], directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = directory / f"{name}.log"
        # What the caller's shell sets for its own stack is not meant for a measured process.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(_SETTINGS_PREFIX)}
        environment["PYTHONPATH"] = str(CHECKOUT)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A group of its own: Ctrl-C ends the measurement, which then ends this in order.
                process_group=0,
            )
        self._root = psutil.Process(self._process.pid)

    @property
    def is_alive(self) -> bool:
        """Whether the program itself runs."""
        return self._process.poll() is None

    def process_ids(self) -> tuple[int, ...]:
        """The program and its children that run now."""
        if not self.is_alive:
            return ()
        return (self._process.pid, *(child.pid for child in self._children() if _is_running(child)))

    def cpu_s(self) -> float:
        """User and system seconds of the program, of children that run and of those waited for.

        A child that has ended counts from its own entry until the program waits for it, and from
        the program's sum afterwards: looked at again where that happened in between.
        """
        for _ in range(CPU_READS_MAX):
            before = _cpu_times(self._root)
            children = sum(sum(_cpu_times(child)) for child in self._children())
            after = _cpu_times(self._root)
            if before[1] == after[1]:
                break
        return sum(after) + children

    def wait_until(self, is_ready: Callable[[], bool], what: str) -> None:
        """Returns once `is_ready`. Raises FatalError with the log's end when it ends or is late."""
        deadline = time.monotonic() + READY_WITHIN_S
        while not is_ready():
            if not self.is_alive:
                raise self._failure(f"{self.name} ended with exit code {self._process.returncode}")
            if time.monotonic() > deadline:
                raise self._failure(f"{self.name}: {what} not within {READY_WITHIN_S:.0f} s")
            time.sleep(POLL_S)

    def end(self) -> None:
        """Ends the whole group: asked to, then killed after END_WITHIN_S."""
        children = self._children()
        self._signal(signal.SIGTERM)
        if not self._is_gone_within(END_WITHIN_S, children):
            self.kill()

    def kill(self) -> None:
        """Ends the whole group at once, for a program whose state is thrown away anyway."""
        children = self._children()
        self._signal(signal.SIGKILL)
        self._is_gone_within(KILL_WITHIN_S, children)

    def _is_gone_within(self, seconds: float, children: Sequence[psutil.Process]) -> bool:
        deadline = time.monotonic() + seconds
        while self.is_alive or any(_is_running(child) for child in children):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _children(self) -> list[psutil.Process]:
        try:
            return list(self._root.children(recursive=True))
        except psutil.NoSuchProcess:
            return []

    def _failure(self, problem: str) -> FatalError:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return FatalError(
            "\n  ".join([problem, *lines]), f"read {self.log.name} in {self.log.parent}"
        )


@contextmanager
def own_process(
    name: str, command: Sequence[str], directory: Path, *, is_killed: bool = False
) -> Iterator[OwnProcess]:
    """Runs a program until the block ends, however it ends; `is_killed`: without asking it."""
    process = OwnProcess(name, command, directory)
    try:
        yield process
    finally:
        if is_killed:
            process.kill()
        else:
            process.end()


class ProcessReceiver:
    """What all receivers that are one process tree have in common; they add how to `clear`."""

    def __init__(self, process: OwnProcess, target: Target) -> None:
        self._process = process
        self._target = target

    @property
    def target(self) -> Target:
        """Where it listens, and as whom."""
        return self._target

    def process_ids(self) -> tuple[int, ...]:
        """Its processes at this moment, children included; () when it has died."""
        return self._process.process_ids()

    def cpu_s(self) -> float:
        """CPU seconds of all its processes since its start, ended children included."""
        return self._process.cpu_s()

    def flushes(self) -> int | None:
        """Flushes to disk since its start; None: it does not say."""
        return None

    def wait_for_echo(self) -> None:
        """Returns once it answers a C-ECHO. Raises FatalError when it does not in time."""
        self._process.wait_until(lambda: _answers(self._target), "no answer to C-ECHO")


class FilesReceiver(ProcessReceiver):
    """A receiver that writes a file for each instance into one directory."""

    def __init__(self, process: OwnProcess, target: Target, objects: Path) -> None:
        super().__init__(process, target)
        self._objects = objects

    def clear(self) -> None:
        """Deletes the files it wrote; what it removes itself meanwhile is gone as well."""
        with os.scandir(self._objects) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    Path(entry.path).unlink(missing_ok=True)


@contextmanager
def files_receiver(
    name: str, ae_title: str, directory: Path, command_of: Callable[[int, Path], Sequence[str]]
) -> Iterator[FilesReceiver]:
    """Runs a program that writes files; `command_of` is asked with its port and its directory.

    Raises FatalError when it does not answer in time.
    """
    objects = directory / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    try:
        with own_process(name, command_of(port, objects), directory) as process:
            running = FilesReceiver(process, Target("127.0.0.1", port, ae_title), objects)
            running.wait_for_echo()
            yield running
    finally:
        shutil.rmtree(objects, ignore_errors=True)


def first_line(command: Sequence[str]) -> str | None:
    """The first line that a program prints of itself; None when it cannot be run."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.split("\n")
    return lines[0].strip() or None


def _answers(target: Target) -> bool:
    peer = Peer(target.host, target.port, target.called_ae_title, target.calling_ae_title)
    try:
        return echo(peer, ECHO_TIMEOUT_S) == 0
    except _NO_ANSWER:
        return False


def _cpu_times(process: psutil.Process) -> tuple[float, float]:
    """Its own seconds, and those of children that it has waited for."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0, 0.0
    return times.user + times.system, times.children_user + times.children_system


def _is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
