"""`load profile`: the functions that the stages of a loaded stack spend their time in.

Invariant: a private stack under its own closed-loop load, sampled in the middle of it. It must not
be compared with an unsampled run: the sampler shares the cores.
"""

from __future__ import annotations

import difflib
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from contracts.failures import FatalError
from load.compare.goals import CELLS
from load.compare.profile import (
    NEVER_BUSY,
    SECONDS_MAX,
    Profile,
    profile_section,
    profiles,
    sampler_version,
)
from load.compare.sending import PLANNED_MAX, CellSender
from load.progress import Progress
from load.report.machine import machine, versions
from load.report.model import Failure, Report, Section
from load.senders import SendRun, send_lean
from load.stages import RunningStack, private_stack, whole_way
from operations import stack as stacks

# Not Python: a sampler of Python stacks sees nothing in them.
FOREIGN = ("kafka", "minio")
LEAD_S = 2.0
WARM_UP_INSTANCES = 200
DEADLINE_S = 60.0
# Beyond those of comparisons: a stack that was compared may be profiled.
_STUDY = 2_000_000
SECONDS = 15.0
SECONDS_MIN = 1.0
KINDS = {cell.kind: cell for cell in CELLS if cell.is_lean and cell.associations > 1}


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """`stages`: names of the stack's processes, all Python ones when empty. `kind`: what is sent,
    `ct` or `ct-small`, by four associations."""

    stages: tuple[str, ...] = ()
    seconds: float = SECONDS
    kind: str = "ct"
    seed: int = 1
    scratch: Path | None = None


def run_profile(options: ProfileOptions, progress: Progress) -> Report:
    """A report with a table of functions for each stage.

    Raises FatalError for an unknown stage or kind, RetryableError when the stack does not start.
    """
    if not SECONDS_MIN <= options.seconds <= SECONDS_MAX:
        raise FatalError(
            f"profiling for {options.seconds:g} s", f"give {SECONDS_MIN:g} to {SECONDS_MAX:g}"
        )
    if options.kind not in KINDS:
        raise FatalError(f"{options.kind!r} is not sent here", f"known: {', '.join(KINDS)}")
    began_at, began = datetime.now(UTC), time.perf_counter()
    described = machine(options.scratch or Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix="hilum-profile-", dir=options.scratch) as scratch:
        directory = Path(scratch)
        with private_stack(directory / "stack", progress) as stack:
            chosen = python_processes(stack, options.stages)
            progress.stage("profiling")
            section, failures = profile_under_load(stack, chosen, options, directory)
    return Report(
        command="profile",
        seed=options.seed,
        started_at=began_at,
        seconds=time.perf_counter() - began,
        ok=not failures,
        machine=described,
        versions={**versions(), "py-spy": sampler_version()},
        parameters={
            "stages": " ".join(chosen),
            "kind": options.kind,
            "seconds": options.seconds,
        },
        sections=(section,),
        failures=failures,
    )


def python_processes(stack: RunningStack, names: tuple[str, ...] = ()) -> dict[str, int]:
    """Process ids of the stack's Python processes by name; `names` chooses among them.

    Raises FatalError for a name that is none, with the nearest one.
    """
    found = {
        one.name: one.pid
        for one in stacks.process_list(stack.options)
        if one.pid is not None and not one.name.startswith(FOREIGN)
    }
    for name in names:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(found))}"
            raise FatalError(f"{name!r} is no Python process of the stack", hint)
    return {name: pid for name, pid in found.items() if not names or name in names}


def profile_under_load(
    stack: RunningStack, chosen: dict[str, int], options: ProfileOptions, directory: Path
) -> tuple[Section, tuple[Failure, ...]]:
    """Sends as fast as answers come while `chosen` are sampled; the section and what failed.

    What is done once is done before: the first insert of a consumer imports a
    hundred modules, which was nine tenths of its samples.
    """
    seconds = options.seconds
    sender = CellSender(KINDS[options.kind], options.seed, {}, directory)
    warm_up = sender.planned(WARM_UP_INSTANCES, _STUDY)
    warmed = whole_way(stack, warm_up, sender.lean_options(), DEADLINE_S)
    with ThreadPoolExecutor(1, thread_name_prefix="profiled-load") as pool:
        sending: Future[SendRun] = pool.submit(_send, stack, sender, seconds)
        time.sleep(LEAD_S)
        found = profiles(chosen, seconds, directory / "profiles")
        run = sending.result()
    failures = (*warmed.failures, *run.failures(), *_unseen(found))
    return profile_section(found, seconds), failures


def _send(stack: RunningStack, sender: CellSender, seconds: float) -> SendRun:
    until_s = LEAD_S + seconds + LEAD_S
    lean = replace(sender.lean_options(), seconds_max=until_s, is_time_box=True)
    return send_lean(stack.target("north"), sender.planned(PLANNED_MAX, _STUDY + 1), lean)


def _unseen(found: tuple[Profile, ...]) -> tuple[Failure, ...]:
    return tuple(
        Failure(f"profiling {one.process}", one.problem, 1)
        for one in found
        if one.problem and one.problem != NEVER_BUSY
    )
