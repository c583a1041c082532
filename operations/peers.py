"""The programs of others that tests and measurements run beside ours: what is there, what is not.

Invariant: a missing one is named with its Debian package and never an exception, and a namesake
is never taken for it. Packages are installed only where the caller asked for it, as root, by
apt-get.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator

# Debian installs Orthanc among the superuser's programs, which is not on everyone's path.
_MORE_DIRECTORIES = ("/usr/sbin", "/usr/local/sbin")
# Of asking the mirror only: a dpkg that is killed leaves the machine's packages half installed.
UPDATE_TIMEOUT_S = 300.0
_VERSION_TIMEOUT_S = 10.0
# pynetdicom brings scripts of these names: a virtual environment on the path hides DCMTK's.
_DCMTK = frozenset((
    "dcmdump", "dcmqrscp", "dcmsend", "echoscu", "findscu", "getscu", "movescu", "storescp",
    "storescu",
))  # fmt: skip
# Debian starts what it installs; a DICOM server that takes anything must not run unasked.
_SERVICES = {"orthanc": "orthanc.service"}


def find(program: str) -> str | None:
    """Where a program is; None when it is not installed.

    One of DCMTK's is the first along the path that says of itself that it is DCMTK's.
    """
    if program in _DCMTK:
        return _find_dcmtk(program, os.environ.get("PATH", os.defpath))
    return next(_places(program, os.environ.get("PATH", os.defpath)), None)


@functools.lru_cache(maxsize=64)
def _find_dcmtk(program: str, search_path: str) -> str | None:
    return next((path for path in _places(program, search_path) if _is_dcmtk(path)), None)


def _places(program: str, search_path: str) -> Iterator[str]:
    """Every executable file of that name, in the order of the path."""
    for directory in (*search_path.split(os.pathsep), *_MORE_DIRECTORIES):
        if directory and (path := shutil.which(program, path=directory)):
            yield path


def _is_dcmtk(path: str) -> bool:
    try:
        said = subprocess.run(
            [path, "--version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return said.stdout.startswith(b"$dcmtk:")


def missing(packages_by_program: dict[str, str]) -> tuple[str, ...]:
    """The packages, in order, of programs that are not installed."""
    return tuple(sorted({p for name, p in packages_by_program.items() if find(name) is None}))


def install_line(packages: Iterable[str]) -> str:
    """What a person types."""
    return f"apt-get install {' '.join(packages)}"


def can_install() -> bool:
    """Whether this process may install packages: root, where apt-get is."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Iterable[str], tell: Callable[[str], None]) -> None:
    """Tries to install Debian packages; the caller looks again at what is there then."""
    names = tuple(packages)
    tell(f"installing {', '.join(names)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    masked = [unit for package, unit in _SERVICES.items() if package in names]
    commands: list[tuple[list[str], float | None]] = [
        (["apt-get", "-q", "update"], UPDATE_TIMEOUT_S),
        (["apt-get", "-q", "install", "-y", *names], None),
    ]
    if masked and shutil.which("systemctl"):
        commands.insert(0, (["systemctl", "mask", *masked], UPDATE_TIMEOUT_S))
    for command, timeout_s in commands:
        try:
            subprocess.run(
                command,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=None if command[0] == "apt-get" else subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            tell(f"{' '.join(command)}: not done in {timeout_s:.0f} s")
    _find_dcmtk.cache_clear()
