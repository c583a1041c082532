"""What each process of the stack is doing, from the supervisor, its own probe and its log.

Invariant: `ready` is the process's own answer; a process that does not run is never ready, and
one that needs a person shows the reason it gave. Must not change anything.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from contracts.failures import RetryableError
from infra.engines.program import Probe
from infra.telemetry import Readiness
from operations import stack_start
from operations.stack_files import StackFiles, StackRecord
from operations.stack_supervisor import Supervised, Supervisor

PROBES_AT_ONCE = 16
LOG_END_BYTES = 16 << 10
REASON_CHARACTERS_MAX = 500


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process, as `hilum status --json` names it."""

    name: str
    pid: int | None
    state: str
    ready: bool
    reason: str

    @property
    def is_fatal(self) -> bool:
        """Stopped for good: a person has to look."""
        return self.state == "stopped"

    def line(self) -> str:
        """For people."""
        said = "ready" if self.ready else self.state
        return f"{self.name}: {said}{f' ({self.reason})' if self.reason else ''}"


def process_states(
    files: StackFiles, supervisor: Supervisor, record: StackRecord
) -> list[ProcessState]:
    """Every recorded process in the order of its start. Never raises for one that is down."""
    try:
        supervised: Mapping[str, Supervised] = supervisor.processes()
    except RetryableError:
        return [
            ProcessState(name, None, "stopped", False, "the stack is not up: run `./hilum up`")
            for name in record.probes
        ]

    def look(item: tuple[str, Probe]) -> ProcessState:
        return _state(files, item[0], item[1], supervised.get(item[0]))

    with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
        return list(pool.map(look, record.probes.items()))


def _state(
    files: StackFiles, name: str, probe: Probe, supervised: Supervised | None
) -> ProcessState:
    if supervised is None:
        return ProcessState(name, None, "stopped", False, "the supervisor does not know it")
    if not supervised.is_alive:
        return _gone(files, supervised)
    pause_s = _pause_left_s(files, name)
    if pause_s > 0:
        reason = f"keeps ending, next start in {pause_s:.0f} s: {_last_words(files, name)}"
        return ProcessState(name, supervised.pid, "pausing", False, reason)
    answer = probe.ask()
    is_answering = answer.is_ready or not answer.reason.startswith("not listening")
    state = "running" if is_answering else "starting"
    return _with_answer(name, supervised, state, answer)


def _with_answer(name: str, supervised: Supervised, state: str, answer: Readiness) -> ProcessState:
    return ProcessState(name, supervised.pid, state, answer.is_ready, answer.reason)


def _gone(files: StackFiles, supervised: Supervised) -> ProcessState:
    """Between an unexpected end and the next start lies a moment; only 78 and a stop stay."""
    name = supervised.name
    if supervised.is_fatal:
        reason = _last_words(files, name)
        return ProcessState(name, None, "stopped", False, f"exit code 78: {reason}")
    if supervised.state in ("EXITED", "BACKOFF"):
        return ProcessState(name, None, "restarting", False, f"exit {supervised.exit_status}")
    if supervised.state == "FATAL":
        return ProcessState(name, None, "stopped", False, _last_words(files, name))
    return ProcessState(name, None, "stopped", False, "not started, or stopped by hand")


def _pause_left_s(files: StackFiles, name: str) -> float:
    record = stack_start.read_record(files.start_record(name))
    left_s = record.get("started_at", 0.0) - time.monotonic()
    return left_s if 0 < left_s <= stack_start.PAUSE_S_MAX else 0.0


def _last_words(files: StackFiles, name: str) -> str:
    """The reason in the log's last line, or that line; processes say why they stop there."""
    try:
        with files.log(name).open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - LOG_END_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return "no log"
    for line in reversed(lines):
        if line.strip():
            return _reason_in(line.strip())[:REASON_CHARACTERS_MAX]
    return f"no word of it; see {files.log(name)}"


def _reason_in(line: str) -> str:
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if not isinstance(event, dict):
        return line
    reason = str(event.get("reason") or event.get("error") or event.get("event") or line)
    next_step = str(event.get("next_step") or "")
    return reason if not next_step or next_step in reason else f"{reason}. Next step: {next_step}"
