"""The steps of a start: settings, what the machine lacks, supervisor, engines, provisioning, rest.

Invariant: what runs already is left running; a failure of one process or of provisioning is a
problem in the report and does not keep gateways from accepting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contracts.failures import FatalError, HilumError
from infra.engines.local import engine_ports, engine_programs
from infra.engines.program import Program
from infra.migrate import pending
from infra.provision import provision
from infra.settings import Settings
from operations.preflight import preflight
from operations.stack_down import take_down
from operations.stack_files import (
    StackFiles,
    StackRecord,
    make_settings,
    read_record,
    write_record,
)
from operations.stack_leftovers import end_marked_processes
from operations.stack_programs import consumer_ports, service_programs, stack_ports
from operations.stack_states import ProcessState, process_states
from operations.stack_supervisor import Supervisor

Progress = Callable[[str], None]
ENGINES_READY_TIMEOUT_S = 240.0
SERVICES_READY_TIMEOUT_S = 240.0
# One that was ready a moment ago and is busy now (a probe waits 3 s) is asked again for so long.
BUSY_TIMEOUT_S = 30.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class StackOptions:
    """Which stack, and how to start it."""

    state_directory: Path
    port_offset: int = 0
    settings_overlay: Path | None = None
    detach: bool = False
    only: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class StackReport:
    """What `up` did. `ok`: every process is ready and provisioning succeeded."""

    ok: bool
    seconds: float
    was_running: bool
    started: tuple[str, ...]
    changes: tuple[str, ...]
    problems: tuple[str, ...]
    processes: tuple[ProcessState, ...]


@dataclass
class Start:
    """One run of `up`, while it goes."""

    options: StackOptions
    files: StackFiles
    supervisor: Supervisor
    progress: Progress
    began: float = field(default_factory=time.monotonic)
    started: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def bring_up(start: Start, was_running: bool) -> StackReport:
    """Everything that is chosen runs and was waited for. Raises HilumError as `stack.up` does."""
    options, files = start.options, start.files
    recorded = read_record(files)
    if was_running and recorded and recorded.port_offset != options.port_offset:
        raise FatalError(
            f"the stack in {files.state_directory} runs at port offset {recorded.port_offset}",
            f"say --port-offset {recorded.port_offset}, or run `./hilum down` first",
        )
    ports = consumer_ports()
    settings = make_settings(files, options.port_offset, options.settings_overlay, ports)
    _ensure_proof_key(start, settings)
    if not was_running:
        _end_leftovers(start)
    _look_at_machine(start, settings, was_running)
    engines = _chosen(options, engine_programs(settings, files.state_directory, start.progress))
    services = _chosen(options, service_programs(settings, files))
    _ensure_supervisor(start, [*engines, *services], was_running)
    if _is_all_ready(start):
        start.progress("the stack is already up and ready")
        return _report(start, was_running)
    _start_and_wait(start, engines, ENGINES_READY_TIMEOUT_S)
    if len(engines) == len(engine_ports(settings)):
        _provision(start, settings)
    if settings.scratch_directory is not None:
        settings.scratch_directory.mkdir(parents=True, exist_ok=True)
    _start_and_wait(start, services, SERVICES_READY_TIMEOUT_S)
    return _report(start, was_running)


def _ensure_proof_key(start: Start, settings: Settings) -> None:
    """A laboratory's key for custody proofs; one that the settings name elsewhere is not ours."""
    path = settings.proofs.key_file
    if path is None or path.exists() or start.files.state_directory not in path.parents:
        return
    # Here: a start that has its key needs no cryptography for it.
    from operations.proof_keys import make_key

    start.changes.append(f"key for custody proofs {make_key(path).key_id[:16]}")
    start.progress(start.changes[-1])


def _end_leftovers(start: Start) -> None:
    """What outlived a supervisor that was killed holds ports and locks of the new start."""
    ended = end_marked_processes(start.files.marker)
    if ended:
        start.progress(f"ended {len(ended)} processes left from an earlier run")


def _look_at_machine(start: Start, settings: Settings, was_running: bool) -> None:
    ports = {} if was_running else stack_ports(settings)
    if start.options.only is not None:
        ports = {name: several for name, several in ports.items() if name in start.options.only}
    found = preflight(settings.local, start.files.state_directory, ports)
    if found.missing:
        lines = "\n".join(f"  - {missing}" for missing in found.missing)
        raise FatalError(f"{len(found.missing)} thing(s) missing on this machine:\n{lines}")
    if found.minutes:
        start.progress(f"first start: about {found.minutes} minutes to obtain the engines, once")


def _chosen(options: StackOptions, programs: Sequence[Program]) -> list[Program]:
    return [p for p in programs if options.only is None or p.name in options.only]


def _ensure_supervisor(start: Start, programs: Sequence[Program], was_running: bool) -> None:
    """A supervisor that knows exactly these programs; one that knows others is replaced."""
    probes = {program.name: program.probe for program in programs}
    if was_running and not start.supervisor.runs_with(programs):
        start.progress("programs or settings changed: starting the stack anew")
        take_down(start.files, start.supervisor)
        was_running = False
    if not was_running:
        start.supervisor.launch(programs)
    write_record(start.files, StackRecord(start.options.port_offset, probes))


def _is_all_ready(start: Start) -> bool:
    return all(process.ready for process in _states(start))


def _start_and_wait(start: Start, programs: Sequence[Program], timeout_s: float) -> None:
    """Start those that do not run and wait for all; what is not ready becomes a problem."""
    names = [program.name for program in programs]
    start.started += start.supervisor.start(names)
    waiting = set(names)
    deadline = time.monotonic() + timeout_s
    while waiting:
        states = {process.name: process for process in _states(start) if process.name in waiting}
        for process in states.values():
            if process.ready or process.is_fatal:
                waiting.discard(process.name)
                start.progress(process.line())
            if process.is_fatal:
                start.problems.append(process.line())
        if time.monotonic() > deadline:
            start.problems += [states[name].line() for name in sorted(waiting)]
            return
        if waiting:
            time.sleep(_POLL_S)


def _provision(start: Start, settings: Settings) -> None:
    """Topics, buckets, tables. A failure is a problem, and no reason to keep gateways from work."""
    try:
        _stop_index_writers(start, settings)
        for line in provision(settings):
            start.changes.append(line)
            start.progress(line)
    except HilumError as error:
        start.problems.append(f"provisioning: {error}")
        start.progress(start.problems[-1])


def _stop_index_writers(start: Start, settings: Settings) -> None:
    """Consumers of an earlier version write what a migration is about to fill tables from."""
    sites = (settings.primary.clickhouse, settings.dr.clickhouse)
    if any(pending(site) for site in sites):
        consumers = tuple(consumer_ports())
        running = [one.name for one in _states(start) if one.name.startswith(consumers)]
        start.progress("the tables change: consumers are started anew")
        start.supervisor.stop(running)


def _report(start: Start, was_running: bool) -> StackReport:
    processes = _states_at_rest(start)
    return StackReport(
        ok=not start.problems and all(process.ready for process in processes),
        seconds=round(time.monotonic() - start.began, 1),
        was_running=was_running,
        started=tuple(start.started),
        changes=tuple(start.changes),
        problems=tuple(start.problems),
        processes=processes,
    )


def _states_at_rest(start: Start) -> tuple[ProcessState, ...]:
    """The states once all are ready; as they are where something is known to be wrong."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        states = tuple(_states(start))
        is_at_rest = all(state.ready for state in states) or any(one.is_fatal for one in states)
        if start.problems or is_at_rest or time.monotonic() > deadline:
            return states
        time.sleep(_POLL_S)


def _states(start: Start) -> list[ProcessState]:
    record = read_record(start.files)
    assert record is not None, "written before anything is started"
    return process_states(start.files, start.supervisor, record)
