"""Engines and consumers of a measurement as child processes, with what CPU they used.

Invariant: what was started here is ended here, by its own pid, also when the measurement fails;
everything listens on loopback only. It must not touch a stack that somebody else started.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from contracts.failures import RetryableError
from infra.engines.local import engine_programs
from infra.engines.program import Probe, Program
from infra.local_stack import local_stack_tree
from infra.settings import Settings, validate
from operations.ports import free_port_offset

READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.05
LOG_LINES = 10


@dataclass(frozen=True, slots=True)
class Child:
    """One process that runs."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def cpu_s(self) -> float:
        """CPU seconds of it and its children so far; 0 once it is gone."""
        try:
            whole = psutil.Process(self.process.pid)
            times = [one.cpu_times() for one in (whole, *whole.children(recursive=True))]
        except psutil.NoSuchProcess:
            return 0.0
        return float(sum(one.user + one.system for one in times))

    def require_running(self) -> None:
        """Raises RetryableError with the end of its log once it has ended."""
        if self.process.poll() is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            raise RetryableError(
                f"running {self.name}: it ended with {self.process.returncode}: {lines}"
            )

    def stop(self) -> None:
        """Ended on return, kindly first."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def engines(directory: Path, wanted: Sequence[str]) -> Iterator[tuple[Settings, list[Child]]]:
    """The named engine processes (`kafka`, `minio-primary`, `clickhouse-primary` …), ready.

    Their data is under `directory` and stays there. Raises RetryableError, FatalError (an engine
    cannot be obtained).
    """
    settings = validate(local_stack_tree(directory, free_port_offset()), "growth")
    chosen = [p for p in engine_programs(settings, directory) if p.name in wanted]
    with children() as started:
        running = [started(program, directory) for program in chosen]
        for child, program in zip(running, chosen, strict=True):
            await_ready(child, program.probe)
        yield settings, running


@contextmanager
def children() -> Iterator[Callable[[Program, Path], Child]]:
    """A starter of programs (each logs into the given directory); ends all of them at the end."""
    running: list[Child] = []

    def start(program: Program, directory: Path) -> Child:
        log = directory / f"{program.name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                program.command,
                cwd=program.directory,
                env={**os.environ, **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is ours to answer: the engines end after what is being written.
                process_group=0,
            )
        running.append(Child(program.name, process, log))
        return running[-1]

    try:
        yield start
    finally:
        for child in reversed(running):
            child.stop()


def await_ready(child: Child, probe: Probe) -> None:
    """Returns once it answers. Raises RetryableError after READY_TIMEOUT_S, or when it ended."""
    until = time.monotonic() + READY_TIMEOUT_S
    while not (state := probe.ask()).is_ready:
        child.require_running()
        if time.monotonic() > until:
            raise RetryableError(f"starting {child.name}: {state.reason}")
        time.sleep(POLL_S)


def cpu_seconds(running: Sequence[Child]) -> Mapping[str, float]:
    """CPU seconds by process name."""
    return {child.name: child.cpu_s() for child in running}
