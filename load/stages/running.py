"""A stack to measure: a private one that is made and taken down, or one that is up already.

Invariant: a private stack lives in a directory of its own at a port offset that nobody else of
this machine's load runs has; leaving the context stops exactly what it started. Must not touch a
stack that it did not start.
"""

from __future__ import annotations

import fcntl
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.failures import FatalError, RetryableError
from infra.local_stack import local_stack_tree
from infra.settings import Settings, validate
from infra.settings import load as load_settings
from load import loopback
from load.progress import Progress
from load.senders import Target
from load.stages.resources import look_at
from operations import stack
from operations.ports import is_port_free
from operations.stack_programs import stack_ports

# Several runs on one machine each take one. All of a stack's ports lie below the range of ephemeral
# ones: above it any of the 17 may be some connection's for the moment.
PORT_OFFSETS = range(4_000, 20_000, 1000)
CALLING_AE_TITLE = "HILUM-LOAD"
SETTLE_S, QUIET_S = 30.0, 1.0
_POLL_S = 0.25
_ROUTINE = re.compile(r": (ready|created|applied|marked)\b")
# With the hold of a real gateway (24 h) a run would only ever write fresh segments, which costs
# more than the recycled ones that a gateway writes from its second day on. The longest measured
# instance is archived well before it is purged either way.
_OVERLAY = """
[gateways.north.spool]
hold_s = 0
[gateways.south.spool]
hold_s = 0
"""


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A stack that is up and ready. `is_private`: made for this run."""

    options: stack.StackOptions
    settings: Settings
    is_private: bool

    @property
    def directory(self) -> Path:
        """Its state directory."""
        return self.options.state_directory

    @property
    def gateways(self) -> tuple[str, ...]:
        """Names of the gateways that it runs."""
        return tuple(self.settings.gateways)

    def target(self, gateway: str, calling_ae_title: str = CALLING_AE_TITLE) -> Target:
        """Whom to call to send to `gateway`. Raises FatalError for an unknown one."""
        found = self.settings.gateway(gateway)
        return Target(found.bind, found.dicom_port, found.ae_title, calling_ae_title)


@contextmanager
def private_stack(directory: Path, progress: Progress) -> Iterator[RunningStack]:
    """A stack of this run's own under `directory`, ready; down when the context is left.

    What it stored stays in `directory` for its owner to remove. Raises FatalError when no port
    offset is free or something is missing on the machine, RetryableError when it is not ready.
    """
    directory.mkdir(parents=True, exist_ok=True)
    overlay = directory / "load-stack.toml"
    overlay.write_text(_OVERLAY, encoding="utf-8")
    with _port_offset(directory) as offset:
        options = stack.StackOptions(directory / "state", offset, overlay, detach=True)
        try:
            report = stack.up(options, _unless_routine(progress))
            if not report.ok:
                raise RetryableError(f"starting a stack: {'; '.join(report.problems)}")
            running = RunningStack(options, _settings_of(options), is_private=True)
            _settle(running)
            yield running
        finally:
            stack.down(options)


def _unless_routine(progress: Progress) -> Callable[[str], None]:
    """Tells what takes long (engines are fetched once) or fails, and no list of what is ready."""

    def tell(line: str) -> None:
        if not _ROUTINE.search(line):
            progress.note(line)

    return tell


def _settle(running: RunningStack) -> None:
    """Returns when the gateways have filled their first segments with zeros.

    They do it beside their work; a run that began before would be charged with it (45 MB in a
    run of 3 MB). Gives up after SETTLE_S: a slow disk is then part of what is measured.
    """
    pids = {
        process.name: process.pid
        for process in stack.process_list(running.options)
        if process.pid is not None and process.name.startswith("gateway-")
    }
    until = time.monotonic() + SETTLE_S
    last, quiet_since = -1, time.monotonic()
    while time.monotonic() < until and time.monotonic() - quiet_since < QUIET_S:
        written = _written_bytes(pids, running.directory)
        if written != last:
            last, quiet_since = written, time.monotonic()
        time.sleep(_POLL_S)


def _written_bytes(pids: Mapping[str, int], directory: Path) -> int:
    looks = look_at(pids, directory, None).processes.values()
    return sum(one.written_bytes or 0 for one in looks)


def attached_stack(options: stack.StackOptions) -> RunningStack:
    """The stack that is up in a state directory.

    Raises FatalError where there is none, where it listens beyond loopback, or where some of it
    is not ready: a measurement of half a stack means nothing.
    """
    processes = stack.process_list(options)
    lame = [process.line() for process in processes if not process.ready]
    if not processes or lame:
        raise FatalError(
            f"no stack is ready in {options.state_directory}" + "".join(f"\n  {x}" for x in lame),
            "run `./hilum up --detach`, or leave --attach out to measure a stack of its own",
        )
    settings = _settings_of(options)
    for gateway in settings.gateways.values():
        loopback.require(gateway.bind, None)
    return RunningStack(options, settings, is_private=False)


def _settings_of(options: stack.StackOptions) -> Settings:
    return load_settings(options.state_directory / "settings.toml")


@contextmanager
def _port_offset(directory: Path) -> Iterator[int]:
    """An offset whose ports are free, ours until the context is left."""
    for offset in PORT_OFFSETS:
        lock_path = Path(tempfile.gettempdir()) / f"hilum-load-{offset}.lock"
        with lock_path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if _are_free(directory, offset):
                yield offset
                return
    raise FatalError(
        f"no port offset from {PORT_OFFSETS[0]} to {PORT_OFFSETS[-1]} is free",
        "end another load run, or measure the running stack with --attach",
    )


def _are_free(directory: Path, offset: int) -> bool:
    settings = validate(local_stack_tree(directory, offset), "of the local stack")
    return all(is_port_free(port) for ports in stack_ports(settings).values() for port in ports)
