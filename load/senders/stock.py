"""DCMTK's `storescu` and `dcmsend` as packaged: one process an association, run side by side.

Invariant: every file has an outcome, and no process outlives the call. Must not tune what the
package does: Nagle's algorithm stays on, as with most modalities in the field.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from contracts.failures import FatalError
from load.senders.model import PLANNED_MAX, Outcome, SendRun, StockOptions, Target
from load.senders.stock_output import (
    LOG_CONFIGURATION,
    FileResult,
    ProgramResult,
    read_output,
)
from operations.peers import find

STOCK_ASSOCIATIONS_MAX = 64
TIMED_OUT = "timed out"
_VERSION_TIMEOUT_S = 10.0
_VERSION = re.compile(r"v(\d+\.\d+\.\d+\S*)")
# Preamble, "DICM", and (0002,0000) itself: the group length counts from behind it (PS3.10 7.1).
_META_BYTES = 128 + 4 + 12
# These would change the programs' own socket options.
_TUNING_VARIABLES = ("TCP_NODELAY", "TCP_BUFFER_LENGTH", "TCP_NOMNODELAY")
_SYNTAX = "1.2.840.10008.1.2"
_UNCOMPRESSED = frozenset((_SYNTAX, f"{_SYNTAX}.1", f"{_SYNTAX}.2"))
# One compressed transfer syntax at a time is all that storescu proposes by option.
_STORESCU_OPTION = {
    f"{_SYNTAX}.1.99": "-xd",
    f"{_SYNTAX}.4.50": "-xy",
    f"{_SYNTAX}.4.51": "-xx",
    f"{_SYNTAX}.4.70": "-xs",
    f"{_SYNTAX}.4.80": "-xt",
    f"{_SYNTAX}.4.81": "-xu",
    f"{_SYNTAX}.4.90": "-xv",
    f"{_SYNTAX}.4.91": "-xw",
    f"{_SYNTAX}.5": "-xr",
}


@dataclass(frozen=True, slots=True)
class _Instance:
    path: Path
    sop_instance_uid: str
    transfer_syntax_uid: str
    size_bytes: int


@dataclass(slots=True)
class _Running:
    process: subprocess.Popen[bytes]
    instances: list[_Instance]
    log: Path
    started_at: float
    ended_at: float = 0.0
    cpu_s: float = 0.0
    is_over_time: bool = False


def stock_version(program: str) -> str | None:
    """The version of an installed program of DCMTK, None where it is not installed."""
    found = find(program)
    if found is None:
        return None
    answer = subprocess.run(
        [found, "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S
    )
    version = _VERSION.search(answer.stdout)
    return version[1] if version else "unknown"


def send_stock(target: Target, files: Sequence[Path], options: StockOptions) -> SendRun:
    """Sends Part-10 files; on return every process has ended.

    `seconds` runs from the first process' start to the last one's end: what starting a program,
    reading its files and associating cost is inside, as in the field. Latencies are from the
    programs' own log. A program that is not installed, or does not know a transfer syntax,
    is a problem of its files. Raises FatalError for files that are no Part-10 files.
    """
    if not files or len(files) > PLANNED_MAX:
        raise FatalError(
            f"planning a send: {len(files)} files", f"choose 1 to {PLANNED_MAX} of them"
        )
    if not 1 <= options.associations <= STOCK_ASSOCIATIONS_MAX:
        raise FatalError(
            f"planning a send: {options.associations} associations",
            f"choose 1 to {STOCK_ASSOCIATIONS_MAX} of them",
        )
    instances = [_instance(path) for path in files]
    problem = _not_possible(instances, options.program)
    if problem:
        return _nothing_sent(target, instances, options, problem)
    shares = [instances[first :: options.associations] for first in range(options.associations)]
    with tempfile.TemporaryDirectory(prefix="hilum-stock-") as folder:
        running = _run(target, [share for share in shares if share], options, Path(folder))
        results = [
            read_output(
                one.log.read_text("utf-8", "replace"),
                [instance.path for instance in one.instances],
            )
            for one in running
        ]
    return _send_run(target, running, results, options)


def _instance(path: Path) -> _Instance:
    try:
        meta = read_file_meta_info(path)
        return _Instance(
            path=path.resolve(),
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
            size_bytes=path.stat().st_size - _META_BYTES - int(meta.FileMetaInformationGroupLength),
        )
    except (InvalidDicomError, AttributeError, OSError) as cause:
        raise FatalError(f"reading {path.name}: no Part-10 file", "give Part-10 files") from cause


def _not_possible(instances: Sequence[_Instance], program: str) -> str:
    """Why the program cannot send these, '' where it can."""
    if find(program) is None:
        return f"not installed: {program}"
    syntaxes = {one.transfer_syntax_uid for one in instances} - _UNCOMPRESSED
    unknown = sorted(syntaxes - _STORESCU_OPTION.keys())
    if unknown:
        return f"{program} does not propose transfer syntax {unknown[0]}"
    if program == "storescu" and len(syntaxes) > 1:
        return "storescu proposes one compressed transfer syntax at a time"
    return ""


def _run(
    target: Target, shares: Sequence[list[_Instance]], options: StockOptions, folder: Path
) -> list[_Running]:
    configuration = folder / "log.cfg"
    configuration.write_text(LOG_CONFIGURATION)
    environment = {
        name: value for name, value in os.environ.items() if name not in _TUNING_VARIABLES
    }
    commands = []
    for number, share in enumerate(shares):
        names = folder / f"files.{number}"
        names.write_text("".join(f'"{one.path}"\n' for one in share))
        commands.append(_command(target, share, options, (configuration, names)))
    running: list[_Running] = []
    try:
        for number, (command, share) in enumerate(zip(commands, shares, strict=True)):
            log = folder / f"log.{number}"
            with log.open("wb") as sink:
                started_at = time.time()
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    env=environment,
                )
            running.append(_Running(process, share, log, started_at))
        _wait(running, time.monotonic() + options.seconds_max)
    finally:
        for one in running:
            if one.process.returncode is None:
                one.process.kill()
                _reap(one)
    return running


def _command(
    target: Target, share: Sequence[_Instance], options: StockOptions, files: tuple[Path, Path]
) -> list[str]:
    configuration, names = files
    # By its place: a script of the same name may stand in front of it on the path.
    command = [find(options.program) or options.program, "-lc", str(configuration), "-nh"]
    command += ["-aet", target.calling_ae_title, "-aec", target.called_ae_title]
    if options.program == "storescu":
        # Its own list of SOP classes is cut at 128 contexts, and not all of ours are in it.
        command.append("--required")
        syntaxes = {one.transfer_syntax_uid for one in share} - _UNCOMPRESSED
        command += [_STORESCU_OPTION[syntax] for syntax in syntaxes]
    return [*command, target.host, str(target.port), f"@{names}"]


def _wait(running: Sequence[_Running], deadline: float) -> None:
    """Returns when all have ended, those over the deadline by force; the moment of each is kept."""
    descriptors = {os.pidfd_open(one.process.pid): one for one in running}
    try:
        while descriptors:
            remaining_s = max(deadline - time.monotonic(), 0.0)
            ended, _, _ = select.select(list(descriptors), [], [], remaining_s)
            if not ended:
                for one in descriptors.values():
                    one.is_over_time = True
                    one.process.kill()
                deadline = time.monotonic() + _VERSION_TIMEOUT_S
            for descriptor in ended:
                _reap(descriptors.pop(descriptor))
                os.close(descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _reap(one: _Running) -> None:
    one.ended_at = time.time()
    _, status, usage = os.wait4(one.process.pid, 0)
    one.process.returncode = os.waitstatus_to_exitcode(status)
    one.cpu_s = usage.ru_utime + usage.ru_stime


def _send_run(
    target: Target,
    running: Sequence[_Running],
    results: Sequence[ProgramResult],
    options: StockOptions,
) -> SendRun:
    outcomes = [
        _outcome(instance, found, (one, result), options.kind)
        for one, result in zip(running, results, strict=True)
        for instance, found in zip(one.instances, result.files, strict=True)
    ]
    problems = Counter(one.association_problem for one in results if one.association_problem)
    return SendRun(
        outcomes=tuple(outcomes),
        seconds=max(one.ended_at for one in running) - min(one.started_at for one in running),
        cpu_s=sum(one.cpu_s for one in running),
        processes=len(running),
        associations=sum(one.associations for one in results),
        target=_name(target),
        association_problems=dict(problems),
    )


def _outcome(
    instance: _Instance, found: FileResult, context: tuple[_Running, ProgramResult], kind: str
) -> Outcome:
    running, result = context
    problem = found.problem
    if found.status is None and not problem:
        over_time = TIMED_OUT if running.is_over_time else ""
        ended = f"not sent, exit code {running.process.returncode}"
        problem = over_time or result.association_problem or ended
    return Outcome(
        sop_instance_uid=instance.sop_instance_uid,
        kind=kind,
        size_bytes=instance.size_bytes,
        due_at=None,
        sent_at=found.sent_at or running.ended_at,
        answered_at=found.answered_at,
        status=found.status,
        problem=problem if found.status is None else "",
    )


def _nothing_sent(
    target: Target, instances: Sequence[_Instance], options: StockOptions, problem: str
) -> SendRun:
    now = time.time()
    outcomes = tuple(
        Outcome(one.sop_instance_uid, options.kind, one.size_bytes, None, now, None, None, problem)
        for one in instances
    )
    return SendRun(outcomes, 0.0, 0.0, processes=0, associations=0, target=_name(target))


def _name(target: Target) -> str:
    return f"{target.called_ae_title} at {target.host}:{target.port}"
