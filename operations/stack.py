"""The local stack: start it, heal it, watch it, stop exactly what was started.

Invariant: whatever died or was killed before, `up` ends with one supervisor, one process of each
name, and the state of last time. It must not touch a process that was not started for its state
directory, and no engine that the settings say is somewhere else.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from operations.stack_down import DownReport, stop_some, take_down
from operations.stack_files import create_directories, exclusive, read_record, stack_files
from operations.stack_states import ProcessState, process_states
from operations.stack_supervisor import Supervisor
from operations.stack_up import Progress, StackOptions, StackReport, Start, bring_up

__all__ = [
    "DownReport",
    "ProcessState",
    "StackOptions",
    "StackReport",
    "down",
    "process_list",
    "stay",
    "up",
]

WATCH_INTERVAL_S = 2.0


def up(options: StackOptions, progress: Progress) -> StackReport:
    """Start the stack, or heal a running one; on return all is ready, or `problems` says why not.

    Ctrl-C takes down what this call started. Raises FatalError when something is missing on the
    machine (all of it named), HilumError when an engine cannot be obtained or started.
    """
    files = stack_files(options.state_directory)
    create_directories(files)
    start = Start(options, files, Supervisor(files), progress)
    with exclusive(files):
        was_running = start.supervisor.is_running()
        try:
            return bring_up(start, was_running)
        except KeyboardInterrupt:
            if not was_running:
                progress("interrupted: stopping what was started")
                take_down(files, start.supervisor)
            raise


def down(options: StackOptions, progress: Progress = lambda _line: None) -> DownReport:
    """Stop exactly what `up` started for this state directory; the state stays.

    With `only`, those processes alone; `up` starts them again. Raises FatalError for a name that
    the stack does not have, RetryableError when it is not up.
    """
    files = stack_files(options.state_directory)
    if not files.run.is_dir():
        return DownReport((), ())
    with exclusive(files):
        progress("stopping")
        if options.only is not None:
            return stop_some(Supervisor(files), options.only)
        return take_down(files, Supervisor(files))


def process_list(options: StackOptions) -> list[ProcessState]:
    """Every process of the stack by name; all `stopped` when it is not up, none if it never was."""
    files = stack_files(options.state_directory)
    record = read_record(files)
    return [] if record is None else process_states(files, Supervisor(files), record)


def stay(options: StackOptions, progress: Progress) -> bool:
    """Keep the terminal and tell each change until Ctrl-C or SIGTERM, then take the stack down."""
    last: dict[str, str] = {}
    with _interrupt_on_sigterm():
        try:
            progress("the stack is up; Ctrl-C stops it")
            while True:
                for process in process_list(options):
                    line = process.line()
                    if last.get(process.name, line) != line:
                        progress(line)
                    last[process.name] = line
                time.sleep(WATCH_INTERVAL_S)
        except KeyboardInterrupt:
            report = down(options, progress)
    progress(f"stopped {len(report.stopped)} processes; the state is kept")
    return True


@contextmanager
def _interrupt_on_sigterm() -> Iterator[None]:
    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
