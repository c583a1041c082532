"""`./hilum load peers`: which receivers, senders and checkers of others are there to measure with.

Invariant: what is missing is named with how to install it; nothing is started but `--version`.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from load.progress import Progress
from load.receivers import orthanc, storescp
from load.receivers.process import first_line
from load.receivers.receiver import Receiver
from load.receivers.registry import RECEIVERS
from load.report.machine import machine, versions
from load.report.model import Failure, Report, Section, Table
from operations import peers

NOT_INSTALLED = "not installed"
# Debian package by the program that shows it is there.
PROGRAMS = {
    "storescp": storescp.PACKAGE,
    "storescu": storescp.PACKAGE,
    "dcmsend": storescp.PACKAGE,
    "Orthanc": orthanc.PACKAGE,
    "dciodvfy": "dicom3tools",
}
_PURPOSES = {
    "storescp": "receiver that does not flush",
    "storescu": "stock sender, one process for each association",
    "dcmsend": "stock sender of whole studies",
    "Orthanc": "receiver with an index",
    "dciodvfy": "checks that synthetic studies are valid for their SOP class",
}


@dataclass(frozen=True, slots=True)
class PeersOptions:
    """`installs`: missing packages are installed first, as root on Debian."""

    installs: bool = False
    directory: Path | None = None


def run_peers(options: PeersOptions, progress: Progress) -> Report:
    """The receivers and programs with their versions, durability and packages.

    A missing one is no failure, except where `installs` asked for it: then what could not be
    installed is listed and the report is not ok.
    """
    started_at, started_s = datetime.now(UTC), time.perf_counter()
    failures = _install(progress) if options.installs else ()
    progress.stage("asking for versions", len(RECEIVERS) + len(PROGRAMS), "programs")
    receivers = _receivers(progress)
    programs = _programs(progress)
    missing = peers.missing(PROGRAMS)
    text = f"Missing: {peers.install_line(missing)}" if missing else "All of them are installed."
    return Report(
        command="peers",
        seed=0,
        started_at=started_at,
        seconds=time.perf_counter() - started_s,
        ok=not failures,
        machine=machine() if options.directory is None else machine(options.directory),
        versions=versions("pynetdicom", "pydicom"),
        parameters={"install": str(options.installs).lower()},
        sections=(Section("Peers", text, tables=(receivers, programs)),),
        failures=failures,
    )


def _install(progress: Progress) -> tuple[Failure, ...]:
    wanted = peers.missing(PROGRAMS)
    if not wanted:
        return ()
    if not peers.can_install():
        hint = f"as root on Debian: {peers.install_line(wanted)}"
        return (
            Failure("installing peers", f"needs root and apt-get; {hint}", len(wanted), wanted),
        )
    progress.stage("installing", len(wanted), "packages")
    peers.install(wanted, progress.note)
    left = peers.missing(PROGRAMS)
    progress.advance(len(wanted) - len(left))
    if not left:
        return ()
    return (Failure("installing peers", "apt-get did not install them", len(left), left),)


def _receivers(progress: Progress) -> Table:
    rows = []
    for receiver in RECEIVERS.values():
        rows.append(_receiver_row(receiver))
        progress.advance()
    columns = ("key", "receiver", "version", "durable", "package", "note")
    note = "Durable: an acknowledged instance's bytes survive a power loss."
    return Table("Receivers", columns, tuple(rows), note)


def _receiver_row(receiver: Receiver) -> tuple[str, ...]:
    version = receiver.version() or NOT_INSTALLED
    durable = "yes" if receiver.is_durable else "no"
    package = receiver.package or "with Hilum"
    return receiver.key, receiver.title, version, durable, package, receiver.note


def _programs(progress: Progress) -> Table:
    rows = []
    for program, package in PROGRAMS.items():
        version = program_version(program) or NOT_INSTALLED
        rows.append((program, version, package, _PURPOSES[program]))
        progress.advance()
    return Table("Programs", ("program", "version", "package", "used as"), tuple(rows))


def program_version(program: str) -> str | None:
    """A program's own word, else its Debian package's version; None when it is not installed."""
    if peers.find(program) is None:
        return None
    if program == orthanc.PROGRAM:
        return orthanc.version()
    if PROGRAMS.get(program) == storescp.PACKAGE:
        return storescp.dcmtk_version(program)
    if shutil.which("dpkg-query"):
        package = PROGRAMS.get(program, program)
        return first_line(["dpkg-query", "-W", "-f", "${Version}", package]) or "installed"
    return "installed"
