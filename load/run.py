"""`load run`: a scenario sent as its sites would send it, every instance followed to the end.

Invariant: what is sent is what the plan says, bounded before the first byte in instances, bytes
and seconds; what was not acknowledged or did not come through is a failure of the report. It must
not send to anything but a local stack, unless a target was named and confirmed.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from contracts.failures import FatalError
from infra.local_stack import LOCAL_GATEWAYS
from load import loopback
from load.arrival import LanePlan, Plan, plan
from load.lanes import Templates, bytes_of, require_within, senders, templates_of
from load.progress import Progress
from load.report.machine import machine, versions
from load.report.model import Failure, Figure, Report, Section, Table, Value
from load.scenario import Scenario, changed, read_scenario
from load.senders import CEILING_S, Headroom, SendRun, Target, headroom, mix_ceiling
from load.senders.lean import send_lean
from load.stages import Lane, RunningStack, attached_stack, follow_lanes, private_stack
from load.stages.figures import run_figures, send_figures
from load.stages.sections import cost_section, sender_section, stage_section, waiting_section
from load.studies import KINDS, default_cache
from operations.context import DEFAULT_STATE_DIRECTORY
from operations.stack import StackOptions

PACKAGES = ("pydicom", "pynetdicom", "kafka-python", "fastavro", "chdb", "minio", "hdrhistogram")
# A private stack keeps what it gets in the spool, on the bus and at two sites.
COPIES = 4
DISK_SPARE_BYTES = 4 * 1024**3
# After the last answer; a stack that is slower is told by what did not come through.
DEADLINE_S = 120.0
SEED_MAX = 10**8 - 1
_TARGET = re.compile(r"(?P<aet>[^@]{1,16})@(?P<host>[^@]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Which scenario, changed how, sent where: to a stack of its own (default), to the running
    one (`attach`, of `state`), or to `target` (AET@host:port; beyond loopback `confirm` names the
    host again). A private stack lives below `scratch` (None: the system's directory). Before the
    first byte the sender alone is measured for `ceiling_s`.
    """

    scenario: str = "clinic"
    seed: int | None = None
    hours: float | None = None
    rate_factor: float = 1.0
    instances_max: int | None = None
    attach: bool = False
    state: Path = DEFAULT_STATE_DIRECTORY
    port_offset: int = 0
    target: str | None = None
    confirm: str | None = None
    deadline_s: float = DEADLINE_S
    ceiling_s: float = CEILING_S
    scratch: Path | None = None


@dataclass(frozen=True, slots=True)
class _Order:
    """A scenario that may be sent: planned, made, counted."""

    scenario: Scenario
    plan: Plan
    templates: Templates
    size_bytes: int
    identity_seed: int
    ceiling: SendRun


@dataclass(frozen=True, slots=True)
class _Told:
    """What was measured, ready for the report."""

    figures: tuple[Figure, ...]
    sections: tuple[Section, ...]
    failures: tuple[Failure, ...]


def run_run(options: RunOptions, progress: Progress) -> Report:
    """The report of one scenario. `ok`: all of it was acknowledged and came through in time.

    Raises FatalError (the scenario, the target, the machine), RetryableError (the stack).
    """
    began_at, began = datetime.now(UTC), time.perf_counter()
    described = machine(options.state if options.attach else _scratch(options))
    target = _target_of(options)
    order = _ordered(options, progress)
    with _directory(options) as directory:
        if target is not None:
            told = _send_only(order, target, progress)
        else:
            with _stack(options, order, directory, progress) as stack:
                told = _whole_way(order, stack, options.deadline_s, progress)
    return Report(
        command="run",
        seed=order.scenario.seed,
        started_at=began_at,
        seconds=time.perf_counter() - began,
        ok=not told.failures,
        machine=described,
        versions=versions(*PACKAGES),
        parameters=_parameters(options, order),
        figures=told.figures,
        sections=(_plan_section(order), *told.sections),
        failures=told.failures,
    )


def _ordered(options: RunOptions, progress: Progress) -> _Order:
    scenario = changed(
        read_scenario(options.scenario),
        hours=options.hours,
        rate_factor=options.rate_factor,
        instances_max=options.instances_max,
        seed=options.seed,
    )
    gateways = ("target",) if options.target else tuple(LOCAL_GATEWAYS)
    planned = plan(scenario, gateways)
    progress.stage("making the templates")
    made = templates_of(planned.lanes, default_cache())
    size_bytes = require_within(scenario, planned, made)
    # What others may keep must never get the same instance twice; our own stack begins empty,
    # and there the seed alone says what is sent.
    is_shared = options.attach or options.target is not None
    identity_seed = int(time.time()) % SEED_MAX if is_shared else scenario.seed
    progress.stage("the sender's own ceiling")
    nobody = senders(scenario, planned, made, lambda _: Target("", 0, ""), identity_seed)
    ceiling = mix_ceiling([(lane.planned, lane.options) for lane in nobody], options.ceiling_s)
    return _Order(scenario, planned, made, size_bytes, identity_seed, ceiling)


def _target_of(options: RunOptions) -> Target | None:
    if options.target is None:
        if options.confirm is not None:
            raise FatalError("--confirm confirms a --target", "name the target too")
        return None
    if options.attach:
        raise FatalError("--attach and --target are two places to send to", "name one of them")
    found = _TARGET.fullmatch(options.target)
    if found is None or not 0 < int(found["port"]) < 65_536:
        raise FatalError(f"{options.target!r} is no target", "write it as AET@host:port")
    loopback.require(found["host"], options.confirm)
    return Target(found["host"], int(found["port"]), found["aet"])


def _scratch(options: RunOptions) -> Path:
    return options.scratch or Path(tempfile.gettempdir())


@contextmanager
def _directory(options: RunOptions) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hilum-run-", dir=_scratch(options)) as directory:
        yield Path(directory)


@contextmanager
def _stack(
    options: RunOptions, order: _Order, directory: Path, progress: Progress
) -> Iterator[RunningStack]:
    if options.attach:
        yield attached_stack(StackOptions(options.state, options.port_offset))
        return
    needed = COPIES * order.size_bytes + DISK_SPARE_BYTES
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise FatalError(
            f"{free / 1e9:.1f} GB are free in {directory.parent}, the run needs {needed / 1e9:.1f}",
            "lower --instances-max, or name another disk with TMPDIR",
        )
    progress.stage("starting a stack")
    with private_stack(directory, progress) as stack:
        yield stack
        progress.stage("stopping the stack")


def _whole_way(order: _Order, stack: RunningStack, deadline_s: float, progress: Progress) -> _Told:
    def target_of(lane: LanePlan) -> Target:
        return stack.target(lane.gateway, lane.calling_ae_title)

    lanes = senders(order.scenario, order.plan, order.templates, target_of, order.identity_seed)
    run = follow_lanes(stack, lanes, deadline_s, progress=progress)
    room = _headroom(order, run.sends, progress)
    sections = (
        sender_section(_titled(order.plan, run.sends), room),
        stage_section(run),
        waiting_section(run),
        cost_section(run),
    )
    return _Told((*run_figures(run), room.figure()), sections, run.failures)


def _send_only(order: _Order, target: Target, progress: Progress) -> _Told:
    """To somebody else's receiver: nobody there tells what came after the acknowledgement."""

    def target_of(lane: LanePlan) -> Target:
        return Target(target.host, target.port, target.called_ae_title, lane.calling_ae_title)

    lanes = senders(order.scenario, order.plan, order.templates, target_of, order.identity_seed)
    progress.stage("sending", order.plan.instances, "instances")
    sends = _send_lanes(lanes, progress)
    failures = tuple(failure for send in sends for failure in send.failures())
    room = _headroom(order, sends, progress)
    section = sender_section(_titled(order.plan, sends), room)
    return _Told((*send_figures(sends), room.figure()), (section,), failures)


def _headroom(order: _Order, sends: Sequence[SendRun], progress: Progress) -> Headroom:
    room = headroom(order.ceiling, sends)
    if room.warning:
        progress.note(room.warning)
    return room


def _send_lanes(lanes: Sequence[Lane], progress: Progress) -> list[SendRun]:
    def send(lane: Lane) -> SendRun:
        done = send_lean(lane.target, lane.planned, lane.options)
        progress.advance(len(lane.planned))
        return done

    with ThreadPoolExecutor(len(lanes), thread_name_prefix="lane") as pool:
        return list(pool.map(send, lanes))


def _titled(planned: Plan, sends: Sequence[SendRun]) -> list[tuple[str, SendRun]]:
    return [
        (f"{lane.site} {lane.modality.kind}", send)
        for lane, send in zip(planned.lanes, sends, strict=True)
    ]


def _parameters(options: RunOptions, order: _Order) -> dict[str, Value]:
    scenario = order.scenario
    where = options.target or ("the running stack" if options.attach else "a stack of its own")
    return {
        "scenario": scenario.name,
        "mode": scenario.mode,
        "sent to": where,
        "hours": scenario.hours if scenario.mode == "open" else None,
        "compress_time": scenario.compress_time if scenario.mode == "open" else None,
        "rate_factor": options.rate_factor,
        "instances": order.plan.instances,
        "left out by instances_max": order.plan.left_out,
        "megabytes": round(order.size_bytes / 1e6, 1),
        "identity seed": order.identity_seed,
        "deadline_s": options.deadline_s,
    }


def _plan_section(order: _Order) -> Section:
    scenario = order.scenario
    rows = tuple(
        (
            lane.site,
            lane.gateway,
            lane.calling_ae_title,
            KINDS[lane.modality.kind].title,
            lane.modality.compression,
            len(lane.studies),
            lane.instances,
            round(bytes_of(lane, order.templates) / 1e6, 1),
        )
        for lane in order.plan.lanes
    )
    text = scenario.title
    if scenario.mode == "open":
        text += (
            f": {scenario.hours:g} h from {scenario.start_hour:g} o'clock, played in "
            f"{scenario.seconds:.0f} s. Rates hold whatever the answers take."
        )
    else:
        text += ": each association sends its next instance when the last one was answered."
    columns = ("site", "gateway", "calling AE title", "kind", "compression", "studies",
               "instances", "MB")  # fmt: skip
    return Section("The scenario", text, tables=(Table("Plan", columns, rows),))
