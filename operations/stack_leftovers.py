"""Finds and ends processes of a stack that its supervisor no longer knows.

Invariant: only a process that carries this stack's marker in its environment is ended, and only
that very process: psutil compares its time of creation before each signal.
"""

from __future__ import annotations

from contextlib import suppress

import psutil

MARKER_VARIABLE = "HILUM_STACK"
TERMINATE_TIMEOUT_S = 15.0
KILL_TIMEOUT_S = 10.0


def marked_processes(marker: str) -> list[psutil.Process]:
    """Every process that was started for the stack with this marker, but ourselves."""
    current = psutil.Process()
    ours = {current.pid, *(parent.pid for parent in current.parents())}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid not in ours and process.environ().get(MARKER_VARIABLE) == marker:
                found.append(process)
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and that its parent has not noted does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end_marked_processes(marker: str) -> list[str]:
    """End them, kindly first; returns what they were once none is left.

    The supervisor goes first: it would start again what ends under it.
    """
    ended = []
    for _ in range(2):
        # Twice: a supervisor may have started another one while the first were collected.
        processes = marked_processes(marker)
        supervisors = [process for process in processes if _is_supervisor(process)]
        _end(supervisors, kindly=False)
        ended += [f"{process.pid} {_name(process)}" for process in processes]
        _end([process for process in processes if process not in supervisors], kindly=True)
    return ended


def _end(processes: list[psutil.Process], kindly: bool) -> None:
    for process in processes if kindly else ():
        with suppress(psutil.Error):
            process.terminate()
            process.resume()  # one that was stopped (SIGSTOP) would not see the signal
    timeout_s = TERMINATE_TIMEOUT_S if kindly else 0
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=KILL_TIMEOUT_S)


def _is_supervisor(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "supervisor.supervisord" in process.cmdline()
    return False


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return str(process.name())
    return "ended"
