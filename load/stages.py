"""Rates stage by stage, and CPU seconds per GB by process, for one synthetic study.

Invariant: stage times are those that `hilum.deliveries` shows, CPU times the kernel's; the sender
runs on the same cores, and the table says so.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from contracts.failures import RetryableError
from infra.connect import Engines
from operations import stack
from operations.context import Context
from operations.send import SendRequest, send
from operations.synthetic import CtStudy
from operations.where import STATES, Whereabouts, where

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class StageRate:
    """One stage: from the first instance spooled until the last one reached it."""

    stage: str
    instances: int
    seconds: float
    instances_per_s: float
    megabytes_per_s: float


@dataclass(frozen=True, slots=True)
class ProcessCost:
    """CPU that one process (and its children) used between the send and the last replica."""

    process: str
    cpu_s: float
    cpu_s_per_gb: float


@dataclass(frozen=True, slots=True)
class StageTable:
    """The whole measurement of one study. `size_bytes` counts data sets."""

    name: str
    instances: int
    size_bytes: int
    stages: tuple[StageRate, ...]
    costs: tuple[ProcessCost, ...]


def measure(context: Context, engines: Engines, study: CtStudy, deadline_s: float) -> StageTable:
    """Sends `study` to north and waits until it is everywhere.

    Raises RetryableError when it is not there within `deadline_s`.
    """
    options = stack.StackOptions(context.state_directory, context.port_offset)
    with tempfile.TemporaryDirectory(prefix="hilum-load-") as folder:
        study.write(Path(folder))
        before = _cpu_seconds(options)
        report = send(context, SendRequest((Path(folder),), "north", "HILUM-LOAD"))
    if report.acknowledged != study.slices:
        raise RetryableError(
            f"sending the study: {report.statuses}, {report.unanswered} unanswered"
        )
    found = _wait(engines, study, deadline_s)
    after = _cpu_seconds(options)
    size_bytes = report.bytes_sent
    sent = _rate("acknowledged", study.slices, report.seconds, size_bytes)
    return StageTable(
        name=f"{study.slices} × {study.rows}×{study.rows}",
        instances=study.slices,
        size_bytes=size_bytes,
        stages=(sent, *_stage_rates(found, study.slices, size_bytes)),
        costs=_costs(before, after, size_bytes),
    )


def _wait(engines: Engines, study: CtStudy, deadline_s: float) -> Whereabouts:
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        found = where(engines, study.study_instance_uid)
        if found.complete >= study.slices:
            return found
        time.sleep(POLL_S)
    raise RetryableError(f"following the study: not everywhere after {deadline_s:.0f} s")


def _stage_rates(found: Whereabouts, instances: int, size_bytes: int) -> list[StageRate]:
    began: datetime = found.states["spooled"]["first_at"]
    return [
        _rate(
            state,
            instances,
            (found.states[state]["last_at"] - began).total_seconds(),
            size_bytes,
        )
        for state in STATES
    ]


def _rate(stage: str, instances: int, seconds: float, size_bytes: int) -> StageRate:
    seconds = max(seconds, 1e-6)
    return StageRate(
        stage,
        instances,
        round(seconds, 2),
        round(instances / seconds, 1),
        round(size_bytes / seconds / 1e6, 1),
    )


def _cpu_seconds(options: stack.StackOptions) -> dict[str, float]:
    return {
        process.name: _tree_cpu_s(process.pid)
        for process in stack.process_list(options)
        if process.pid
    }


def _tree_cpu_s(pid: int) -> float:
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def _costs(
    before: dict[str, float], after: dict[str, float], size_bytes: int
) -> tuple[ProcessCost, ...]:
    used = {name: after[name] - before.get(name, 0.0) for name in after}
    return tuple(
        ProcessCost(name, round(cpu, 2), round(cpu / size_bytes * 1e9, 1))
        for name, cpu in sorted(used.items(), key=lambda pair: -pair[1])
    )
